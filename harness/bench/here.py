# SPDX-License-Identifier: MIT
"""This harness, measured as its users use it: clones of a template."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from harness.bench.protocol import LATENCY_SAMPLES, MEMORY_MACHINES, private_bytes, serve
from harness.guest.guest import Guest
from harness.guest.ssh.service import warm
from harness.imageset.features import parse_all
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.template import Template, TemplateStore


def template_of(given: dict[str, Any]) -> Template:
    """The template of the image set that the bench names."""
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
    return TemplateStore(Path(given["templates"]), warm).get(MachineConfig(images))


def main_job(guest: Guest) -> None:
    """insmod and the application's first result."""
    guest.insmod()
    guest.run_app()


def rows(template: Template) -> None:
    """Serves the rows that need no pytest."""

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

    serve({"command": command, "pristine": pristine, "clone": clone, "memory": memory})


if __name__ == "__main__":
    rows(template_of(json.loads(sys.argv[1])))
