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

from harness.cli import exit_status
from harness.errors import HarnessError
from harness.gate.sample import Sample
from harness.guest import Guest
from harness.images import DEFAULT_MEMORY, ImageSet
from harness.machine.machine import Machine, MachineConfig

Measure = Callable[[ImageSet, int, Path], list[Sample]]
"""Measures an image set with so many MiB of RAM; transcripts go to the directory."""
SAMPLES = "samples.json"
"""What the program writes into its directory."""
BOOTS = 3
ROUNDS = 5
CYCLES = 100
"""Allocations, each given back at once, in one round."""
PAGE = 4096
SIZES = {"latency: one page": PAGE, "latency: 256 pages": 256 * PAGE}


def measure(images: ImageSet, memory_mib: int, artifacts: Path) -> list[Sample]:
    """Medians of host time: a cold boot from QEMU's start to the agent's first answer, and one
    allocation and release through the application.
    """
    boots: list[float] = []
    found: list[Sample] = []
    for number in range(BOOTS):
        begun = time.perf_counter()
        config = MachineConfig(images, memory_mib)
        with Machine(config, artifacts / f"machine-{number}") as machine:
            machine.open()
            boots.append(time.perf_counter() - begun)
            if number == BOOTS - 1:
                found = _latencies(Guest(machine))
    return [Sample("boot", "ms", round(1e3 * statistics.median(boots), 1)), *found]


def _latencies(guest: Guest) -> list[Sample]:
    guest.insmod()
    found = []
    with guest.script() as app:
        for name, size in SIZES.items():
            region = app.alloc(size)  # first fit: each of the cycles gets this one
            app.release(region)
            commands = [f"alloc {size}", f"release {region.start} {size}"] * CYCLES
            times = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                answers = app.ask(commands, timeout=60)
                times.append((time.perf_counter() - begun) / CYCLES)
                wrong = [answer for answer in answers if not answer.startswith("ok")]
                if wrong or len(answers) != len(commands):
                    raise HarnessError(f"{name}: the application answered {wrong[:1]}")
            found.append(Sample(name, "us", round(1e6 * statistics.median(times), 1)))
    return found


def main(argv: Sequence[str] | None = None, how: Measure = measure) -> int:
    """``python -m harness.nightly.measure``: writes `SAMPLES`. Exit status as `harness.cli`."""
    parser = argparse.ArgumentParser(prog="measure", description=__doc__)
    parser.add_argument("--kernel-version", metavar="X.Y", required=True)
    parser.add_argument("--memory", metavar="MIB", type=int, default=DEFAULT_MEMORY)
    parser.add_argument("--to", metavar="DIR", type=Path, required=True)
    options = parser.parse_args(argv)
    from harness.build.imageset import build_image_set

    try:
        samples = how(build_image_set(options.kernel_version), options.memory, options.to)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_status(error)
    text = json.dumps([dataclasses.asdict(sample) for sample in samples], indent=2)
    (options.to / SAMPLES).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
