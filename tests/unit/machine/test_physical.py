# SPDX-License-Identifier: MIT
"""Reading and writing guest memory: a monitor that says where, and this process, which has it."""

from __future__ import annotations

import ctypes
import os

import pytest

from harness.machine.errors import MachineError
from harness.machine.physical import read, write

RAM = 0x60000000


class Monitor:
    """Answers ``gpa2hva`` as QEMU 7.2 does, for RAM that is a buffer of this process."""

    def __init__(self, size: int) -> None:
        self.buffer = ctypes.create_string_buffer(b"." * size, size)
        self.hole = size

    def __call__(self, line: str) -> str:
        command, text = line.split()
        assert command == "gpa2hva"
        offset = int(text, 16) - RAM
        if not 0 <= offset < len(self.buffer):
            return f"No memory is mapped at address {text}\r\n"
        at = ctypes.addressof(self.buffer) + offset + (4096 if offset >= self.hole else 0)
        return f"Host virtual address for {text} (ram) is {at:#x}\r\n"


def test_the_bytes_are_at_the_address_and_no_other() -> None:
    monitor = Monitor(16)
    write(monitor, os.getpid(), RAM + 4, b"12345678")
    assert monitor.buffer.raw == b"....12345678...."


def test_what_is_written_is_read_there() -> None:
    monitor = Monitor(16)
    write(monitor, os.getpid(), RAM + 4, b"12345678")
    assert read(monitor, os.getpid(), RAM + 3, 10) == b".12345678."


def test_nothing_is_asked_for_no_bytes() -> None:
    assert read(lambda _: pytest.fail("asked"), os.getpid(), RAM, 0) == b""
    write(lambda _: pytest.fail("asked"), os.getpid(), RAM, b"")


@pytest.mark.parametrize("address", [RAM - 1, RAM + 9, RAM + 16])
def test_what_is_not_all_ram_is_refused_before_a_byte_is_written(address: int) -> None:
    monitor = Monitor(16)
    with pytest.raises(MachineError, match=r"not in the guest's RAM: No memory is mapped"):
        write(monitor, os.getpid(), address, b"12345678")
    assert monitor.buffer.raw == b"." * 16


def test_memory_that_is_not_one_piece_in_qemu_is_refused() -> None:
    monitor = Monitor(16)
    monitor.hole = 8
    with pytest.raises(MachineError, match="not one piece"):
        write(monitor, os.getpid(), RAM + 4, b"12345678")
    assert monitor.buffer.raw == b"." * 16


def test_a_process_that_is_gone_is_an_error_of_the_machine() -> None:
    with pytest.raises(MachineError, match="cannot reach QEMU's memory"):
        write(Monitor(16), 2**22 + 1, RAM, b"1")


def test_an_address_that_is_not_mapped_is_an_error_of_the_machine() -> None:
    def monitor(line: str) -> str:
        return f"Host virtual address for {line.split()[1]} (ram) is 0x10\r\n"

    with pytest.raises(MachineError, match="cannot reach QEMU's memory"):
        write(monitor, os.getpid(), RAM, b"1")
