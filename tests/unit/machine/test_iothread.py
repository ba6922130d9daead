# SPDX-License-Identifier: MIT
from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pexpect
import pytest

from harness.machine import iothread
from harness.machine.iothread import IoThread
from harness.machine.transcript import Changes, Stream

PATIENCE = 10.0
LONG = 3600.0


class Source:
    """A stream that the thread drains, and the end that a guest writes to."""

    def __init__(self, io: IoThread, framed: bool = False) -> None:
        self._io = io
        self.changed = Changes()
        self.stream = Stream("line", self.changed, framed)
        self.ours, self.guest = socket.socketpair()
        self.ours.setblocking(False)
        io.drain(self.ours.fileno(), self.stream)

    def turn(self) -> None:
        """Lets the thread see what there is."""
        self._io.run(asyncio.sleep(0))

    def forget(self) -> None:
        self._io.forget(self.ours.fileno())

    def close(self) -> None:
        self.forget()
        self.ours.close()
        self.guest.close()


@pytest.fixture
def sources() -> Iterator[tuple[Source, Source]]:
    """A console, and a line of frames."""
    io = IoThread.shared()
    both = Source(io), Source(io, framed=True)
    yield both
    for source in both:
        source.close()


def test_bytes_of_a_line_are_read_together(sources: tuple[Source, Source]) -> None:
    console, _ = sources
    for byte in b"Booting Linux on physical CPU 0x0\n" * 10:
        console.guest.send(bytes([byte]))
        console.turn()
    console.stream.wait(10 * 34 - 1, PATIENCE)
    assert console.changed.count < 170, "it was woken for each byte"


def test_part_of_a_line_that_is_not_ended_is_read(sources: tuple[Source, Source]) -> None:
    console, _ = sources
    for text in (b"log", b"in: "):
        console.guest.send(text)
    console.stream.wait(6, PATIENCE)
    assert console.stream.bytes() == b"login: "


def test_what_was_said_before_an_answer_is_there_with_it(
    sources: tuple[Source, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iothread, "PAUSE", LONG)
    console, agent = sources
    console.guest.send(b"Unable")
    console.stream.wait(5, PATIENCE)
    console.guest.send(b" to handle\nPC is at")
    agent.guest.send(b"@frame\n")
    agent.stream.wait(6, PATIENCE)
    assert console.stream.bytes() == b"Unable to handle\nPC is at"
    console.guest.send(b" cma_alloc")
    agent.guest.send(b"@another\n")
    agent.stream.wait(14, PATIENCE)
    assert console.stream.bytes().endswith(b"PC is at cma_alloc")


def test_the_end_of_what_is_not_read_for_a_moment_is_seen(sources: tuple[Source, Source]) -> None:
    console, _ = sources
    console.guest.send(b"last words")
    console.guest.shutdown(socket.SHUT_WR)
    with pytest.raises(pexpect.EOF):
        console.stream.wait(10, PATIENCE)
    assert console.stream.bytes() == b"last words"


def test_a_number_that_is_used_again_is_another_source(
    sources: tuple[Source, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iothread, "PAUSE", LONG)
    console, agent = sources
    console.guest.send(b"part")
    console.stream.wait(3, PATIENCE)
    number = console.ours.fileno()
    console.forget()
    reader, writer = os.pipe()
    os.dup2(reader, number)
    os.write(writer, b"of another")
    agent.guest.send(b"@frame\n")
    agent.stream.wait(6, PATIENCE)
    assert console.stream.bytes() == b"part"
    os.close(reader)
    os.close(writer)
