# SPDX-License-Identifier: MIT
"""QEMU's qtest protocol, from our end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.machine.bus import Bus
from harness.machine.errors import MachineError


@pytest.fixture
def qemu() -> Iterator[Callable[[bytes], tuple[Bus, list[bytes]]]]:
    """A QEMU that says this, in two pieces, to whatever it is asked first."""
    stack = contextlib.ExitStack()

    def start(answer: bytes) -> tuple[Bus, list[bytes]]:
        ours, theirs = socket.socketpair()
        asked: list[bytes] = []

        def serve() -> None:
            with theirs:
                asked.append(theirs.recv(100))
                for piece in filter(None, (answer[:4], answer[4:])):
                    theirs.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        stack.enter_context(ours)
        return Bus(ours), asked

    with stack:
        yield start


def test_a_register_is_read(qemu: Callable[[bytes], tuple[Bus, list[bytes]]]) -> None:
    bus, asked = qemu(b"OK 0x000000000000080b\n")
    assert bus.read(0x10020018) == 0x80B
    assert asked == [b"readl 0x10020018\n"]


def test_a_register_is_written(qemu: Callable[[bytes], tuple[Bus, list[bytes]]]) -> None:
    bus, asked = qemu(b"OK\n")
    bus.write(0x10020018, 0x80B)
    assert asked == [b"writel 0x10020018 0x80b\n"]


@pytest.mark.parametrize("answer", [b"FAIL Unknown command 'readl'\n", b"", b"OK 0x"])
def test_anything_else_is_an_error(
    qemu: Callable[[bytes], tuple[Bus, list[bytes]]], answer: bytes
) -> None:
    bus, _ = qemu(answer)
    with pytest.raises(MachineError, match=r"on its bus"):
        bus.read(0x10020018)
