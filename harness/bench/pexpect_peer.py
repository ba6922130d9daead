# SPDX-License-Identifier: MIT
"""Ten lines of pexpect doing the same job, as many write them by hand."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import pexpect

from harness.bench.protocol import LATENCY_SAMPLES, MEMORY_MACHINES, private_bytes, serve

PROMPT = "[/~] # "
"""From BusyBox 1.37 on the home directory, which is /, is shown as a tilde."""


@contextlib.contextmanager
def booted(given: dict[str, Any]) -> Iterator[Any]:
    """A machine with a shell on standard input and output."""
    child = pexpect.spawn(
        "qemu-system-arm -M vexpress-a9 -m 512M -nographic -no-reboot -audiodev none,id=audio0"
        f" -kernel {given['kernel']} -dtb {given['dtb']} -initrd {given['initrd']}"
        f' -append "{given["append"]}"',
        timeout=60,
    )
    child.expect("press Enter")
    child.sendline()
    child.expect(PROMPT)
    try:
        yield child
    finally:
        child.close(force=True)


def run(child: Any, command: str) -> None:
    """Sends a line and waits for the next prompt."""
    child.sendline(command)
    child.expect(PROMPT)


def main_job(child: Any, given: dict[str, Any]) -> None:
    """insmod and the application's first result."""
    run(child, f"insmod /lib/modules/{given['release']}/extra/cma.ko")
    child.sendline("CMA_area_app-0.0.1")
    child.expect(r"Phys: 0x[0-9a-f]+ - 0x[0-9a-f]+")
    child.expect(PROMPT)


def rows(given: dict[str, Any]) -> None:
    """Serves the rows that need no pytest."""

    def command() -> float:
        with booted(given) as child:
            times = []
            for _ in range(LATENCY_SAMPLES):
                begun = time.perf_counter()
                run(child, "echo hello")
                times.append(time.perf_counter() - begun)
            return statistics.median(times)

    def pristine() -> float:
        begun = time.perf_counter()
        with booted(given) as child:
            main_job(child, given)
            return time.perf_counter() - begun

    def memory() -> float:
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(booted(given)) for _ in range(MEMORY_MACHINES)]
            for child in children:
                main_job(child, given)
            return float(sum(private_bytes(child.pid) for child in children))

    def ten() -> float:
        begun = time.perf_counter()
        with booted(given) as child:
            for _ in range(10):
                run(child, "echo hello")
            return time.perf_counter() - begun

    serve({"command": command, "pristine": pristine, "memory": memory, "ten": ten})


if __name__ == "__main__":
    rows(json.loads(sys.argv[1]))
