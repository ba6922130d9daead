# SPDX-License-Identifier: MIT
"""gdb's protocol against a scripted stub."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.machine.errors import MachineError
from harness.machine.gdbstub import LR, GdbStub

Answer = Callable[[str], str | None]


class FakeStub:
    """Answers packets; what it got is in `packets`."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.answers: dict[str, str] = {}
        self.packets: list[str] = []
        self.interrupted = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, packet: str) -> None:
        """Sends a packet, as QEMU does: an acknowledgement before it."""
        self.theirs.sendall(f"+${packet}#{sum(packet.encode()) % 256:02x}".encode())

    def _serve(self) -> None:
        data = b""
        while piece := self.theirs.recv(4096):
            data += piece
            if b"\x03" in data:
                data = data.replace(b"\x03", b"")
                self.interrupted.set()
                self.say("T02thread:01;")
            while match := re.search(rb"\$([^#]*)#([0-9a-f]{2})", data):
                packet = match[1].decode()
                assert int(match[2], 16) == sum(match[1]) % 256
                data = data[match.end() :]
                self.packets.append(packet)
                if packet in self.answers:
                    self.say(self.answers[packet])

    def close(self) -> None:
        self.ours.close()
        self._thread.join(10)
        self.theirs.close()


@pytest.fixture
def fake() -> Iterator[FakeStub]:
    made = FakeStub()
    yield made
    made.close()


def test_a_breakpoint_is_set_and_cleared(fake: FakeStub) -> None:
    fake.answers = {"Z0,80008000,4": "OK", "z0,80008000,4": "OK"}
    stub = GdbStub(fake.ours)
    stub.break_at(0x80008000)
    stub.clear(0x80008000)
    assert fake.packets == ["Z0,80008000,4", "z0,80008000,4"]


def test_a_refusal_is_told(fake: FakeStub) -> None:
    fake.answers = {"Z0,0,4": "E22"}
    with pytest.raises(MachineError, match=r"answers 'E22' to 'Z0,0,4'"):
        GdbStub(fake.ours).break_at(0)


def test_one_processor_or_all_go_on(fake: FakeStub) -> None:
    fake.answers = {"vCont;c": "T05thread:02;", "vCont;c:2": "T05thread:01;"}
    stub = GdbStub(fake.ours)
    stub.resume()
    assert stub.stopped(10) == 2
    stub.resume(2)
    assert stub.stopped(10) == 1


def test_who_comes_nowhere_is_interrupted(fake: FakeStub) -> None:
    stub = GdbStub(fake.ours)
    stub.resume(1)
    assert stub.stopped(0.05) is None
    stub.interrupt()
    assert fake.interrupted.is_set()


def test_a_register_is_one_of_all(fake: FakeStub) -> None:
    values = b"".join((0x80000000 + number).to_bytes(4, "little") for number in range(16))
    fake.answers = {"Hg2": "OK", "g": values.hex() + "00" * 12}
    assert GdbStub(fake.ours).register(2, LR) == 0x8000000E


def test_a_stop_that_is_said_unasked_is_no_answer(fake: FakeStub) -> None:
    fake.answers = {"Z0,1000,4": "OK"}
    fake.say("T02thread:01;")
    GdbStub(fake.ours).break_at(0x1000)


def test_a_stub_that_goes_away_is_told(fake: FakeStub) -> None:
    fake.theirs.shutdown(socket.SHUT_RDWR)
    with pytest.raises((MachineError, OSError)):
        GdbStub(fake.ours).break_at(0)
