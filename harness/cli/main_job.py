# SPDX-License-Identifier: MIT
"""``./scripts/run``: boot, insmod, allocate, judge, and say it in one line."""

from __future__ import annotations

import argparse
import sys

from harness.board import COMMANDS, LOG
from harness.guest.guest import Guest
from harness.host.output import claim, set_aside
from harness.host.programs import ROOT
from harness.imageset import preflight
from harness.imageset.model import APP, ImageSet
from harness.machine.config import MachineConfig
from harness.machine.machine import STDERR, Machine
from harness.memory.errors import MisplacedAllocation
from harness.memory.render import render_map

ARTIFACTS = ROOT / "artifacts" / "run"
LEFT = ("transcript.txt", *(f"{name}.log" for name in (LOG, COMMANDS, STDERR)))
"""What a machine leaves in its directory."""


def run(images: ImageSet, options: argparse.Namespace) -> int:
    """Does the main job on a machine that is booted for it; returns 0.

    Raises a `HarnessError` that says what is wrong. A misplaced allocation is drawn before that.
    """
    preflight.check(images, options.area, images.append)
    artifacts = (options.artifacts or ARTIFACTS).absolute()
    claim(artifacts)
    set_aside(artifacts, LEFT)
    with Machine(MachineConfig(images, options.memory), artifacts) as machine:
        machine.start()
        machine.open()
        guest = Guest(machine, options.area)
        memory_map = guest.memory_map()
        guest.insmod()
        region = guest.run_app()[0]
        release = guest.release()
        print(f"CMA region: {region.title}".rstrip())
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(render_map(memory_map, [region.phys], expected=guest.area, ascii_only=ascii_only))
        try:
            placement = guest.judge(region.phys, memory_map)
        except MisplacedAllocation:
            print(f"the same machine again:\n  {machine.command()}")
            raise
        machine.settle()
    print(f"PASS {placement} ({APP}, Linux {release})")
    return 0
