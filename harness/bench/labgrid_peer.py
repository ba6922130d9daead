# SPDX-License-Identifier: MIT
"""labgrid's QEMUDriver and ShellDriver doing the same job; runs in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labgrid import Environment

from harness.bench.protocol import LATENCY_SAMPLES, MEMORY_MACHINES, private_bytes, serve

CONFIG = """\
targets:
  main:
    drivers:
      QEMUDriver:
        qemu_bin: qemu
        machine: vexpress-a9
        cpu: cortex-a9
        memory: 512M
        extra_args: "-initrd {initrd} -audiodev none,id=audio0"
        boot_args: "{append}"
        kernel: kernel
        dtb: dtb
        nic: user
      ShellDriver:
        prompt: '[/~] # '
        console_ready: 'Please press Enter to activate this console.'
        login_prompt: 'login: '
        username: root
tools:
  qemu: qemu-system-arm
images:
  kernel: {kernel}
  dtb: {dtb}
"""


@contextlib.contextmanager
def booted(given: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """A machine with a shell; yields (QEMUDriver, ShellDriver)."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "env.yaml"
        path.write_text(CONFIG.format(**given))
        target = Environment(str(path)).get_target("main")
        qemu = target.get_driver("QEMUDriver")
        qemu.on()
        try:
            yield qemu, target.get_driver("ShellDriver")
        finally:
            target.cleanup()


def main_job(shell: Any, given: dict[str, Any]) -> None:
    """insmod and the application's first result."""
    shell.run_check(f"insmod /lib/modules/{given['release']}/extra/cma.ko")
    shell.run_check("CMA_area_app-0.0.1")


def rows(given: dict[str, Any]) -> None:
    """Serves the rows that need no pytest."""

    def command() -> float:
        with booted(given) as (_qemu, shell):
            times = []
            for _ in range(LATENCY_SAMPLES):
                begun = time.perf_counter()
                shell.run_check("echo hello")
                times.append(time.perf_counter() - begun)
            return statistics.median(times)

    def pristine() -> float:
        begun = time.perf_counter()
        with booted(given) as (_qemu, shell):
            main_job(shell, given)
            return time.perf_counter() - begun

    def memory() -> float:
        with contextlib.ExitStack() as stack:
            machines = [stack.enter_context(booted(given)) for _ in range(MEMORY_MACHINES)]
            for _qemu, shell in machines:
                main_job(shell, given)
            return float(sum(private_bytes(qemu._child.pid) for qemu, _shell in machines))

    def ten() -> float:
        begun = time.perf_counter()
        with booted(given) as (_qemu, shell):
            for _ in range(10):
                shell.run_check("echo hello")
            return time.perf_counter() - begun

    serve({"command": command, "pristine": pristine, "memory": memory, "ten": ten})


if __name__ == "__main__":
    rows(json.loads(sys.argv[1]))
