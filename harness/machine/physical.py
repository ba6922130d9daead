# SPDX-License-Identifier: MIT
"""Reads and writes guest physical memory from the host, past the guest.

QEMU tells where in its own memory a guest address is (``gpa2hva``), and its parent may read and
write there: ``/proc/PID/mem``, proc(5). So nothing of the guest's memory goes through a file. A
clone's RAM is a private mapping, so the template does not change.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.machine.errors import MachineError

_ANSWER = re.compile(r"Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]+)")
Monitor = Callable[[str], str]
"""Runs a line of QEMU's human monitor."""


def read(monitor: Monitor, pid: int, address: int, length: int) -> bytes:
    """Guest physical memory ``[address, address + length)`` as it is now.

    `monitor` is that of the QEMU whose process is `pid`. Raises `MachineError` where the addresses
    are not RAM, or the host forbids it.
    """
    if not length:
        return b""
    data = bytearray()
    with _memory(monitor, pid, address, length, "rb") as memory:
        while len(data) < length and (piece := memory.read(length - len(data))):
            data += piece
    if len(data) != length:
        raise MachineError(f"only {len(data)} of {length} B were read at {address:#x}")
    return bytes(data)


def write(monitor: Monitor, pid: int, address: int, data: bytes) -> None:
    """Writes `data` at guest physical `address`; the rest is as for `read`."""
    if not data:
        return
    with _memory(monitor, pid, address, len(data), "r+b") as memory:
        written = memory.write(data)
    if written != len(data):
        raise MachineError(f"only {written} of {len(data)} B were written at {address:#x}")


def host_range(monitor: Monitor, address: int, size: int) -> int:
    """Where ``[address, address + size)`` begins in QEMU's memory. Raises `MachineError` where that
    is not RAM in one piece.
    """
    first, last = (_host_address(monitor, at) for at in (address, address + size - 1))
    if last - first != size - 1:
        raise MachineError(f"guest memory from {address:#x} on is not one piece of {size} B")
    return first


@contextlib.contextmanager
def _memory(
    monitor: Monitor, pid: int, address: int, length: int, mode: str
) -> Iterator[IO[bytes]]:
    """QEMU's memory, at the place of a piece of the guest's."""
    first = host_range(monitor, address, length)
    try:
        with Path(f"/proc/{pid}/mem").open(mode, buffering=0) as memory:
            memory.seek(first)
            yield memory
    except OSError as error:
        raise MachineError(f"cannot reach QEMU's memory: {error}") from error


def _host_address(monitor: Monitor, address: int) -> int:
    answer = monitor(f"gpa2hva {address:#x}")
    match = _ANSWER.search(answer)
    if match is None:
        raise MachineError(f"{address:#x} is not in the guest's RAM: {answer.strip()}")
    return int(match[1], 16)
