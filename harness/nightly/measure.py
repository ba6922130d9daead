# SPDX-License-Identifier: MIT
"""Measures one system: how long it boots, and how long an allocation takes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.board import DEFAULT_MEMORY
from harness.gate.probe import probe
from harness.gate.sample import Sample
from harness.host.command import run_command
from harness.host.files import write_text
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine

Measure = Callable[[ImageSet, int, Path], list[Sample]]
"""Measures an image set with so many MiB of RAM; transcripts go to the directory."""
SAMPLES = "samples.json"
"""What the program writes into its directory."""
BOOTS = 3


def measure(images: ImageSet, memory_mib: int, artifacts: Path) -> list[Sample]:
    """The median host time of a cold boot, from QEMU's start to the agent's first answer, and the
    guest's own times of one deterministic boot: see `harness.gate.probe`.
    """
    boots: list[float] = []
    for number in range(BOOTS):
        begun = time.perf_counter()
        config = MachineConfig(images, memory_mib)
        with Machine(config, artifacts / f"machine-{number}") as machine:
            machine.start()
            machine.open()
            boots.append(time.perf_counter() - begun)
    host = Sample("boot (host)", "ms", round(1e3 * statistics.median(boots), 1))
    found = probe(images, artifacts / "probe", memory_mib=memory_mib)
    latencies = [
        Sample(f"latency: {name}", "us", round(value, 1)) for name, value in found.cycle_us.items()
    ]
    return [host, Sample("boot (guest)", "ms", round(found.boot_ms, 3)), *latencies]


def main(argv: Sequence[str] | None = None, how: Measure = measure) -> int:
    """``python -m harness.nightly.measure``: writes `SAMPLES`.

    Exit status as `harness.host.command`.
    """
    parser = argparse.ArgumentParser(prog="measure", description=__doc__)
    parser.add_argument("--kernel-version", metavar="X.Y", required=True)
    parser.add_argument("--memory", metavar="MIB", type=int, default=DEFAULT_MEMORY)
    parser.add_argument("--to", metavar="DIR", type=Path, required=True)
    options = parser.parse_args(argv)
    from harness.builders.imageset import build_image_set

    def call() -> int:
        samples = how(build_image_set(options.kernel_version), options.memory, options.to)
        text = json.dumps([dataclasses.asdict(sample) for sample in samples], indent=2)
        write_text(options.to / SAMPLES, text + "\n")
        return 0

    return run_command(call)


if __name__ == "__main__":
    sys.exit(main())
