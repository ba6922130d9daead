# SPDX-License-Identifier: MIT
"""Finding pages in QEMU's memory: this process plays QEMU."""

from __future__ import annotations

import mmap
import os
from ctypes import addressof, c_char
from pathlib import Path

import pytest

from harness.machine.errors import MachineError
from harness.machine.ram_search import HEAD, PAGE, find_pages
from harness.memory.ranges import AddressRange

RAM = 0x60000000
SIZE = 64 << 20
HEADS = {bytes([number]) * HEAD: number for number in (1, 2, 3)}


class Ram:
    """Memory of this process; the monitor says where it is."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, SIZE)
        self.base = addressof(c_char.from_buffer(self.memory))

    def __call__(self, line: str) -> str:
        offset = int(line.split()[1], 16) - RAM
        if not 0 <= offset < SIZE:
            return "No memory is mapped"
        return f"Host virtual address for {RAM + offset:#x} (ram) is {self.base + offset:#x}\r\n"

    def find(self, size: int = SIZE) -> dict[int, list[int]]:
        return find_pages(self, os.getpid(), AddressRange.from_size(RAM, size), HEADS)


@pytest.fixture
def ram() -> Ram:
    return Ram()


def test_pages_are_found_wherever_they_are(ram: Ram) -> None:
    for offset in (0, 5 << 20, SIZE - PAGE):
        ram.memory[offset : offset + HEAD] = b"\1" * HEAD
    ram.memory[9 * PAGE : 9 * PAGE + HEAD] = b"\2" * HEAD
    assert ram.find() == {1: [RAM, RAM + (5 << 20), RAM + SIZE - PAGE], 2: [RAM + 9 * PAGE]}


def test_half_of_a_head_is_none_and_so_is_one_inside_a_page(ram: Ram) -> None:
    ram.memory[0:8] = b"\1" * 8
    ram.memory[PAGE + 16 : PAGE + 16 + HEAD] = b"\1" * HEAD
    assert ram.find() == {}


def test_what_was_never_touched_stays_untouched(ram: Ram) -> None:
    ram.memory[0:HEAD] = b"\3" * HEAD
    before = resident()
    assert ram.find() == {3: [RAM]}
    assert resident() - before < SIZE // 4


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_what_is_no_ram_is_told(ram: Ram) -> None:
    with pytest.raises(MachineError, match="not in the guest's RAM"):
        ram.find(SIZE + PAGE)
