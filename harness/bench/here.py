# SPDX-License-Identifier: MIT
"""This harness, measured as its users use it: clones of a template."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.bench.protocol import LATENCY_SAMPLES, MEMORY_MACHINES, private_bytes, serve
from harness.explore.guests import Explorer
from harness.explore.model import Operation
from harness.explore.setup import prepare
from harness.guest.guest import Guest
from harness.guest.ssh.service import warm
from harness.imageset.features import parse_all
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.template import Template, TemplateStore

_ROUND = (
    Operation("alloc", (0, 3)),
    Operation("alloc", (1, 16)),
    Operation("fill", (0, 0)),
    Operation("map", (1, 0, 0, 4)),
    Operation("check", (0, 0)),
    Operation("unmap", (1, 0)),
    Operation("release", (1, 0)),
    Operation("debug_alloc", (1, 2)),
    Operation("debug_free", (1, 2)),
    Operation("look", (0,)),
)
SEQUENCE = _ROUND * 4
"""Forty operations on two areas."""


def config_of(given: dict[str, Any]) -> MachineConfig:
    """The machine of the image set that the bench names."""
    images = ImageSet(
        Path(given["kernel"]),
        Path(given["dtb"]),
        Path(given["initrd"]),
        Path(given["module"]),
        Path(given["app"]),
        append=given["append"],
        release=given["release"],
        features=parse_all(given["features"]),
    )
    return MachineConfig(images)


def store_of(given: dict[str, Any]) -> TemplateStore:
    """Where the bench keeps its templates."""
    return TemplateStore(Path(given["templates"]), warm)


def template_of(given: dict[str, Any]) -> Template:
    """The template of the image set that the bench names."""
    return store_of(given).get(config_of(given))


def main_job(guest: Guest) -> None:
    """insmod and the application's first result."""
    guest.insmod()
    guest.run_app()


def rows(given: dict[str, Any], place: Path) -> None:
    """Serves the rows that need no pytest; `place` is a directory for transcripts."""
    template = template_of(given)

    @functools.cache
    def explorer() -> Explorer:
        store = store_of(given)
        return Explorer(
            store, prepare(config_of(given), store, place, print_error), place, print_error
        )

    def sequence() -> float:
        explorer()  # made once, and not counted
        begun = time.perf_counter()
        explorer().run(SEQUENCE)
        return time.perf_counter() - begun

    def step() -> float:
        return sequence() / len(SEQUENCE)

    def command() -> float:
        with template.clone() as machine:
            times = []
            for _ in range(LATENCY_SAMPLES):
                begun = time.perf_counter()
                machine.channel.run("echo hello", 10)
                times.append(time.perf_counter() - begun)
            return statistics.median(times)

    def pristine() -> float:
        begun = time.perf_counter()
        with template.clone() as machine:
            main_job(Guest(machine))
            return time.perf_counter() - begun

    def clone() -> float:
        begun = time.perf_counter()
        with template.clone() as machine:
            machine.channel.run("echo hello", 10)
            return time.perf_counter() - begun

    def memory() -> float:
        with contextlib.ExitStack() as stack:
            machines = [stack.enter_context(template.clone()) for _ in range(MEMORY_MACHINES)]
            for machine in machines:
                main_job(Guest(machine))
            return sum(private_bytes(machine.pid) for machine in machines)

    serve(
        {
            "command": command,
            "pristine": pristine,
            "clone": clone,
            "memory": memory,
            "sequence": sequence,
            "step": step,
        }
    )


def print_error(text: str) -> None:
    """A line for whoever watches: standard output has the figures."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        rows(json.loads(sys.argv[1]), Path(directory))
