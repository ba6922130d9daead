# SPDX-License-Identifier: MIT
"""Finds pages of guest RAM by their first words, from the host.

The guest's RAM is a mapping of QEMU's, which its parent may read: ``/proc/PID/mem``, proc(5). Only
pages that QEMU has touched are looked at (``/proc/PID/pagemap``, Documentation/admin-guide/mm/
pagemap.rst): what the guest has written is among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness.machine.errors import MachineError
from harness.machine.physical import host_range
from harness.memory.ranges import AddressRange

PAGE = 4096
HEAD = 16
"""Bytes at the start of a page by which it is found."""
_THERE = 0b11 << 62
"""Of a pagemap entry: in memory, or in swap."""
_PIECE = 4 << 20


def find_pages(
    monitor: Callable[[str], str], pid: int, ram: AddressRange, heads: Mapping[bytes, int]
) -> dict[int, list[int]]:
    """The physical addresses of all pages in `ram` that begin with one of `heads`, by its number.

    `monitor` runs a line of the human monitor of the QEMU whose process is `pid`. Raises
    `MachineError` where `ram` is not RAM in one piece, or the host forbids it.
    """
    first_words = {int.from_bytes(head[:8], "little"): head for head in heads}
    found: dict[int, list[int]] = {}
    base = host_range(monitor, ram.start, ram.size)
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, size in _touched(pid, base, ram.size):
                data = os.pread(memory.fileno(), size, base + start)
                words = memoryview(data).cast("Q")[:: PAGE // 8].tolist()
                for page, word in enumerate(words):
                    if word not in first_words:
                        continue
                    head = first_words[word]
                    if data[page * PAGE : page * PAGE + HEAD] == head:
                        address = ram.start + start + page * PAGE
                        found.setdefault(heads[head], []).append(address)
    except OSError as error:
        raise MachineError(f"cannot read QEMU's memory: {error}") from error
    return found


def _touched(pid: int, base: int, size: int) -> Iterator[tuple[int, int]]:
    """Offset and size of pieces of QEMU's memory from `base` on that are not untouched."""
    count = size // PAGE
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as file:
        table = os.pread(file.fileno(), count * 8, base // PAGE * 8)
    if len(table) < count * 8:
        raise MachineError(f"/proc/{pid}/pagemap ends early")
    there = [entry & _THERE != 0 for entry in memoryview(table).cast("Q")]
    start = 0
    while start < count:
        if not there[start]:
            start += 1
            continue
        end = start
        while end < count and there[end] and (end - start) * PAGE < _PIECE:
            end += 1
        yield start * PAGE, (end - start) * PAGE
        start = end
