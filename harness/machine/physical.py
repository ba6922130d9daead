# SPDX-License-Identifier: MIT
"""Writes guest physical memory from the host, past the guest.

QEMU has a command that reads it (``pmemsave``) and none that writes it, but it tells where in its
own memory a guest address is (``gpa2hva``), and its parent may write there: ``/proc/PID/mem``,
proc(5). A clone's RAM is a private mapping, so the template does not change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.machine.errors import MachineError

_ANSWER = re.compile(r"Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]+)")


def write(monitor: Callable[[str], str], pid: int, address: int, data: bytes) -> None:
    """Writes `data` at guest physical `address`.

    `monitor` runs a line of the human monitor of the QEMU whose process is `pid`. Raises
    `MachineError` where the addresses are not RAM, or the host forbids it.
    """
    if not data:
        return
    first = host_range(monitor, address, len(data))
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(first)
            written = memory.write(data)
    except OSError as error:
        raise MachineError(f"cannot write QEMU's memory: {error}") from error
    if written != len(data):
        raise MachineError(f"only {written} of {len(data)} B were written at {address:#x}")


def host_range(monitor: Callable[[str], str], address: int, size: int) -> int:
    """Where ``[address, address + size)`` begins in QEMU's memory. Raises `MachineError` where that
    is not RAM in one piece.
    """
    first, last = (_host_address(monitor, at) for at in (address, address + size - 1))
    if last - first != size - 1:
        raise MachineError(f"guest memory from {address:#x} on is not one piece of {size} B")
    return first


def _host_address(monitor: Callable[[str], str], address: int) -> int:
    answer = monitor(f"gpa2hva {address:#x}")
    match = _ANSWER.search(answer)
    if match is None:
        raise MachineError(f"{address:#x} is not in the guest's RAM: {answer.strip()}")
    return int(match[1], 16)
