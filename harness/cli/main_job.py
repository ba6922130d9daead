# SPDX-License-Identifier: MIT
"""The main job: boot, insmod, allocate, judge, and say it in one line."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import IO

from harness.board import COMMANDS, LOG
from harness.cli.systems import System
from harness.errors import HarnessError
from harness.guest.guest import Guest
from harness.host.output import claim, set_aside
from harness.host.project import ARTIFACTS
from harness.imageset.model import APP
from harness.machine.machine import STDERR, Machine
from harness.memory.errors import MisplacedAllocation
from harness.memory.judge import Placement
from harness.memory.memorymap import MemoryMap
from harness.memory.ranges import AddressRange
from harness.memory.render import render_map
from harness.plaintext import line

LEFT = ("transcript.txt", *(f"{name}.log" for name in (LOG, COMMANDS, STDERR)))
"""What a machine leaves in its directory."""


@dataclasses.dataclass(frozen=True)
class Output:
    """Where things go."""

    artifacts: Path = ARTIFACTS / "run"
    """Console, logs and results."""
    as_json: bool = False
    """Standard output is one JSON document, not text."""
    live: IO[str] | None = None
    """Shows the serial lines while they speak."""
    gdb: IO[str] | None = None
    """Is told how to attach gdb; the machine waits for it."""


def run(system: System, output: Output) -> int:
    """Does the main job on a machine that is booted for it; returns 0.

    Raises a `HarnessError` that says what is wrong. A misplaced allocation is drawn before that.
    """
    artifacts = output.artifacts.absolute()
    claim(artifacts)
    set_aside(artifacts, LEFT)
    report: dict[str, object] = {"area": system.area}
    try:
        with Machine(system.config, artifacts, output.live, gdb=output.gdb) as machine:
            machine.start()
            machine.open()
            placement = _judged(machine, system, output, report)
            machine.settle()
    except HarnessError as error:
        if output.as_json:
            report |= {"verdict": error.verdict.value, "message": str(error)}
            print(json.dumps(report, indent=2))
        raise
    if output.as_json:
        print(json.dumps(report | {"verdict": "pass"}, indent=2))
    else:
        print(f"PASS {placement} ({APP}, Linux {report['release']})")
    return 0


def _judged(
    machine: Machine, system: System, output: Output, report: dict[str, object]
) -> Placement:
    guest = Guest(machine, system.area)
    memory_map = guest.memory_map()
    report["map"] = described(memory_map)
    guest.insmod()
    region = guest.run_app()[0]
    report["release"] = guest.release()
    report["allocation"] = _range(region.phys)
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
    return placement


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
