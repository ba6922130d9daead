# SPDX-License-Identifier: MIT
"""The CMA counters of a running guest at one moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from harness.guest.witnesses import DEBUGFS, SYSFS, TIMEOUT, texts_below
from harness.machine.channel import Channel
from harness.memory.counters import (
    CmaCounters,
    CmaMeminfo,
    parse_meminfo,
    parse_sysfs,
    parse_vmstat,
)
from harness.memory.debugfs import DebugArea, directory_of, parse_debugfs
from harness.memory.errors import MalformedDebugfs, WitnessDisagreement
from harness.memory.ranges import AddressRange

AREA_FILES = ("base_pfn", "bitmap", "count", "maxchunk", "order_per_bit", "used")
FILES = (
    "/proc/meminfo",
    "/proc/vmstat",
    f"{DEBUGFS}/*/*",
    f"{DEBUGFS}/*/ranges/*/*",
    f"{SYSFS}/*/*",
)


@dataclasses.dataclass(frozen=True)
class CmaState:
    """The counters at one moment, by the area's name; sizes are in bytes."""

    areas: Mapping[str, DebugArea]
    counters: Mapping[str, CmaCounters]
    meminfo: CmaMeminfo
    vmstat: Mapping[str, int]

    def allocated(self, area: str) -> tuple[AddressRange, ...]:
        """The ranges whose bits are set in the area's bitmap, merged, in order."""
        return self.areas[area].allocated or ()

    def used(self, area: str) -> int:
        """Bytes of the area that are allocated."""
        return sum(place.size for place in self.allocated(area))

    @property
    def reserved(self) -> Mapping[str, tuple[AddressRange, ...]]:
        """What is allocated in each area: the same after code that frees all that it allocates."""
        return {name: self.allocated(name) for name in self.areas}


def read_state(channel: Channel, names: Collection[str] = ()) -> CmaState:
    """Reads all counters at once; `names` are areas that there may be (`parse_debugfs`).

    Raises `WitnessDisagreement` where ``used`` or ``maxchunk`` is not what the bitmap says, and
    `MalformedDebugfs`, `MalformedCounter`.
    """
    files = channel.get_many(FILES, TIMEOUT)
    debugfs = texts_below(files, DEBUGFS)
    areas = {area.name: area for area in parse_debugfs(debugfs, known_names=names)}
    for area in areas.values():
        _check(area)
    counters = {area.name: area for area in parse_sysfs(texts_below(files, SYSFS))}
    proc = texts_below(files, "/proc")
    meminfo = parse_meminfo(proc["meminfo"]) or CmaMeminfo(0, 0)
    return CmaState(areas, counters, meminfo, parse_vmstat(proc["vmstat"]))


def directories(name: str) -> tuple[str, str]:
    """What an area's directory in debugfs may be called: as of now, and in old kernels."""
    return name, directory_of(name)


def read_area(channel: Channel, name: str) -> DebugArea:
    """Reads one area from debugfs alone, checked as by `read_state`. Raises `MalformedDebugfs`
    where there is none of that name.
    """
    paths = [f"{DEBUGFS}/{place}/{file}" for place in directories(name) for file in AREA_FILES]
    texts = texts_below(channel.get_many(paths, TIMEOUT), DEBUGFS)
    areas = parse_debugfs(texts, known_names=[name])
    if not areas:
        raise MalformedDebugfs(f"{DEBUGFS}/{name}", "there is no such area")
    _check(areas[0])
    return areas[0]


def _check(area: DebugArea) -> None:
    if area.allocated is None or area.range is None:
        return
    page = 1 << area.page_shift
    used = sum(place.size for place in area.allocated)
    free, end = 0, area.range.start
    for place in (*area.allocated, AddressRange(area.range.end, area.range.end + 1)):
        free, end = max(free, place.start - end), place.end
    for name, value, bitmap in (("used", area.used, used), ("maxchunk", area.maxchunk, free)):
        if value is not None and value * page != bitmap:
            said = (f"debugfs {name}", area.directory, f"{value} pages")
            raise WitnessDisagreement(
                area.name, said, ("bitmap", area.directory, f"{bitmap // page} pages")
            )
