# SPDX-License-Identifier: MIT
"""The main job: boot, load the driver, allocate, judge; the last line of output is the verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.cli.systems import BOOT, LEFT, MAP, System, say
from harness.errors import HarnessError, UserError
from harness.guest.guest import Guest
from harness.host.command import exit_status
from harness.host.files import write_texts
from harness.host.output import claim, set_aside
from harness.host.progress import waiting
from harness.host.project import ARTIFACTS
from harness.imageset.features import Feature
from harness.imageset.model import APP
from harness.machine.deadline import Deadline
from harness.machine.errors import GuestTimeout
from harness.machine.machine import Machine
from harness.memory.errors import MisplacedAllocation
from harness.memory.memorymap import MemoryMap
from harness.memory.ranges import AddressRange
from harness.memory.render import render_map
from harness.plaintext import clean, line

_WORDS = ("expected", "found")
"""Keys of the report that are for the last line alone."""


@dataclasses.dataclass(frozen=True)
class Output:
    """Where things go."""

    artifacts: Path = ARTIFACTS / "run"
    """Console, logs and results."""
    as_json: bool = False
    """Standard output is one JSON document, not text."""
    live: IO[str] | None = None
    """Shows the output of the serial lines live."""
    gdb: IO[str] | None = None
    """Is told how to attach gdb; the machine waits for it."""
    timeout: float | None = None
    """Seconds for all that the guest has to do; None: each step has its own deadline."""


def run(system: System, output: Output, again: Callable[[], bool] = lambda: False) -> int:
    """Does the main job on a machine that is booted for it; returns the exit status.

    A failure is printed, a misplaced allocation with a map; the last line begins with FAIL, with
    JSON on standard error. Raises `UserError` for what was given, and what the system is blamed
    for where `again` says that it is to be tried once more.
    """
    artifacts = output.artifacts.absolute()
    claim(artifacts)
    set_aside(artifacts, LEFT)
    report: dict[str, object] = {"area": system.area}
    try:
        with (
            all_within(output.timeout),
            Machine(system.config, artifacts, output.live, gdb=output.gdb) as machine,
        ):
            with waiting("booting"):
                machine.start()
                machine.open()
            _judged(machine, system, output, report)
            machine.settle()
    except HarnessError as error:
        if exit_status(error) == 1 and again():
            raise
        if output.as_json:
            report |= {"verdict": error.verdict.value, "message": str(error)}
            print(json.dumps(_public(report), indent=2), flush=True)
        if isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        last = f"FAIL {_fields(system, report, 'does not hold')}: {_kind(error)}"
        print(clean(last), file=sys.stderr if output.as_json else sys.stdout)
        return exit_status(error)
    if output.as_json:
        print(json.dumps(_public(report) | {"verdict": "pass"}, indent=2))
    else:
        print(f"PASS {_fields(system, report, 'holds')}")
    return 0


@contextlib.contextmanager
def all_within(seconds: float | None) -> Iterator[None]:
    """Ends whatever the guest does in the block after so many seconds, and says so."""
    if seconds is None:
        yield
        return
    with Deadline.all_within(seconds) as whole:
        try:
            yield
        except GuestTimeout as late:
            if not whole.expired:
                raise
            raise GuestTimeout(f"{late}\nall had to be done in {seconds:g} s (--timeout)") from None


def _kind(error: HarnessError) -> str:
    return f"{type(error).__name__} ({error.verdict.value})"


def _fields(system: System, report: dict[str, object], verb: str) -> str:
    """What was asked and found; ``?`` for what is not known."""
    place, allocation = report.get("expected", "?"), report.get("found")
    holds = f"{verb} {allocation}" if allocation else "holds ?"
    release = report.get("release") or system.images.release or "?"
    return f"{system.area} {place} {holds} ({APP}, Linux {release})"


def _public(report: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in report.items() if name not in _WORDS}


def _judged(machine: Machine, system: System, output: Output, report: dict[str, object]) -> None:
    guest = Guest(machine, system.area)
    memory_map = guest.memory_map()
    report["map"] = described(memory_map)
    report["expected"] = str(memory_map.area(guest.area).range)
    report["release"] = guest.release()
    guest.insmod()
    images = system.images
    if Feature.AGENT not in images.features or "module" in images.foreign:
        say(f"loaded {guest.module_source()}")
    region = guest.run_app()[0]
    report["allocation"] = _range(region.phys)
    report["found"] = str(region.phys)
    _draw(output.artifacts, machine, memory_map, region.phys, guest.area)
    if not output.as_json:
        print(line(f"CMA region: {region.title}"))
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(render_map(memory_map, [region.phys], expected=guest.area, ascii_only=ascii_only))
    try:
        placement = guest.judge(region.phys, memory_map)
    except MisplacedAllocation:
        if not output.as_json:
            print(f"the same machine again:\n  {machine.command()}")
        raise
    report["placement"] = {"area": placement.area.name, "offset": placement.offset}


def _draw(
    directory: Path, machine: Machine, memory_map: MemoryMap, found: AddressRange, area: str
) -> None:
    """Leaves the run's pictures. Raises `HarnessError` where they cannot be written."""
    from harness.report import bar, pictures

    drawn = {MAP: pictures.memory_map(memory_map, [found], area)}
    if (timeline := pictures.boot(machine.console_text())) is not None:
        drawn[BOOT] = timeline
    try:
        texts = {name: bar.standalone(picture) for name, picture in drawn.items()}
        write_texts(directory.absolute(), texts)
    except OSError as error:
        raise HarnessError(f"cannot write to {directory}: {error.strerror}") from error


def described(memory_map: MemoryMap) -> dict[str, object]:
    """A map as JSON. Ranges have their last byte as ``end``, as the kernel prints them."""
    return {
        "ram": [_range(bank) for bank in memory_map.ram],
        "areas": [
            {"name": area.name, **_range(area.range), "witnesses": sorted(area.witnesses)}
            for area in memory_map.areas
        ],
    }


def _range(place: AddressRange) -> dict[str, object]:
    return {"start": f"{place.start:#x}", "end": f"{place.end - 1:#x}", "size": place.size}
