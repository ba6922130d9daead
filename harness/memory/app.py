# SPDX-License-Identifier: MIT
"""What CMA_area_app prints of a region: ``CMA region:``, ``Phys: 0x… - 0x…``, ``Virt: 0x… - 0x…``.

Both ends are exclusive, as BiscuitOS's application prints them. Kernel messages may stand between
the lines; within a line nothing is forgiven.
"""

from __future__ import annotations

import dataclasses
import re

from harness.memory.errors import (
    AppOutputError,
    ContradictoryAppOutput,
    EmptyAllocation,
    MissingAppLine,
    UnparsableAddress,
)
from harness.memory.ranges import AddressRange, InvalidRange, human_size

_KEY = re.compile(r"\s*(CMA region|Phys|Virt):(.*)", re.DOTALL)
_ADDRESSES = re.compile(r"\s*0x([0-9a-f]{1,16})\s+-\s+0x([0-9a-f]{1,16})\s*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class AppRegion:
    """One region of the application. ``title`` is what follows ``CMA region:``, often nothing."""

    phys: AddressRange
    virt: AddressRange
    title: str = ""


@dataclasses.dataclass
class _Open:
    line: int
    title: str
    phys: AddressRange | None = None
    virt: AddressRange | None = None

    @property
    def complete(self) -> bool:
        return self.phys is not None and self.virt is not None


def parse_app_output(text: str, *, titled: bool = True) -> list[AppRegion]:
    """The regions in the order in which they are printed; at least one.

    ``titled``: each region begins with ``CMA region:``. Our application leaves that line out with
    ``--pattern``; with ``titled=False`` a region may begin at ``Phys:``, after a whole one.

    Raises `MissingAppLine`, `UnparsableAddress`, `EmptyAllocation` or `ContradictoryAppOutput`;
    each quotes what was read.
    """
    regions: list[AppRegion] = []
    current: _Open | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        match = _KEY.fullmatch(line.rstrip("\r"))
        if match is None:
            continue
        key, rest = match[1], match[2]
        untitled = not titled and key == "Phys" and (current is None or current.complete)
        if untitled or key == "CMA region":
            if current is not None:
                regions.append(_closed(current, text))
            current = _Open(number, title="" if untitled else rest.strip())
        if key == "CMA region":
            continue
        place = _addresses(key, rest, number, line)
        if current is None:
            raise MissingAppLine(f"{key}: before any `CMA region:`", line=number, text=line)
        _put(current, key, place, number, line)
    if current is None:
        raise MissingAppLine(f"there is no `{'CMA region' if titled else 'Phys'}:`", text=text)
    regions.append(_closed(current, text))
    return regions


def _addresses(key: str, rest: str, number: int, line: str) -> AddressRange:
    match = _ADDRESSES.fullmatch(rest)
    if match is None:
        raise UnparsableAddress(f"{key}: is not `0x… - 0x…`", line=number, text=line)
    try:
        return AddressRange(int(match[1], 16), int(match[2], 16))
    except InvalidRange as error:
        raise EmptyAllocation(
            f"{key}: the end is not above the start (the end is exclusive)", line=number, text=line
        ) from error


def _put(region: _Open, key: str, place: AddressRange, number: int, line: str) -> None:
    before = region.phys if key == "Phys" else region.virt
    if before is not None and before != place:
        raise ContradictoryAppOutput(
            f"a second {key}: for the region of line {region.line}, which was at {before}",
            line=number,
            text=line,
        )
    if key == "Phys":
        region.phys = place
    else:
        region.virt = place


def _closed(region: _Open, text: str) -> AppRegion:
    for key, value in (("Phys", region.phys), ("Virt", region.virt)):
        if value is None:
            raise MissingAppLine(f"no {key}: for the region of line {region.line}", text=text)
    if region.phys is None or region.virt is None:
        raise AppOutputError("incomplete region", line=region.line, text=text)
    if region.phys.size != region.virt.size:
        raise ContradictoryAppOutput(
            f"{human_size(region.phys.size)} of physical memory ({region.phys}) and "
            f"{human_size(region.virt.size)} of virtual memory for one region",
            line=region.line,
        )
    return AppRegion(region.phys, region.virt, region.title)
