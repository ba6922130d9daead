# SPDX-License-Identifier: MIT
"""A serial line that loses, doubles or splits chosen bytes, with the real agent or a real shell at
its other end.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import fcntl
import functools
import itertools
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from harness.host.project import IMAGES
from harness.machine import agent, requests, shell
from harness.machine.agent import AgentChannel
from harness.machine.channel import Guard
from harness.machine.deadline import Deadline
from harness.machine.line import Line
from harness.machine.shell import ShellChannel
from harness.machine.transcript import Transcript

TO_GUEST, TO_HOST = "to guest", "to host"
WAYS = ("lost", "doubled", "split")


@dataclasses.dataclass(frozen=True)
class Damage:
    """What happens to one byte."""

    direction: str
    at: int
    """Its position among the bytes of that direction since the wire was armed."""
    way: str


class Wire(Line):
    """The harness's end of a pty; what goes over it is damaged as it was armed to be."""

    def __init__(self, master: int, slave: int, framed: bool) -> None:
        self.transcript = Transcript(None)
        super().__init__(master, self.transcript.stream("line", framed), self.transcript)
        self._slave = slave
        self._passed = {TO_GUEST: 0, TO_HOST: 0}
        self._damages: list[Damage] = []
        self._kept: list[Damage] = []
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def arm(self, *damages: Damage) -> None:
        """Damages are counted from here on."""
        self._passed = {TO_GUEST: 0, TO_HOST: 0}
        self._damages = list(damages)

    def disarm(self) -> None:
        """No damage until `rearm`."""
        self._kept, self._damages = self._damages, []

    def rearm(self) -> None:
        """Damages are counted from here on."""
        self.arm(*self._kept)

    def passed(self, direction: str) -> int:
        """Bytes that went that way since the wire was armed."""
        return self._passed[direction]

    def send(self, data: bytes, deadline: Deadline, guard: Guard) -> None:
        """As `Line.send`."""
        for piece in self._pieces(TO_GUEST, data):
            left = memoryview(piece)
            while left:
                left = left[os.write(self.fd, left) :]
            while self._damages and self._unread():
                os.sched_yield()  # the two parts of a split must not be read as one

    def _unread(self) -> int:
        """Bytes that the guest has not taken yet."""
        answer = fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def _relay(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                for piece in self._pieces(TO_HOST, data):
                    self.stream.append(piece)
        self.stream.close()

    def _pieces(self, direction: str, data: bytes) -> Iterable[bytes]:
        start = self._passed[direction]
        self._passed[direction] += len(data)
        pieces, begun = [], 0
        for damage in self._damages:
            at = damage.at - start
            if damage.direction == direction and 0 <= at < len(data):
                if damage.way == "lost":
                    pieces.append(data[begun:at])
                    begun = at + 1
                else:
                    pieces.append(data[begun : at + 1])
                    begun = at + (damage.way == "split")
        return [*pieces, data[begun:]] if pieces else [data]

    def hang_up(self) -> None:
        """The line's end."""
        os.close(self._slave)
        self._thread.join(10)
        assert not self._thread.is_alive(), "it reads from a number that another file would get"
        os.close(self.fd)


@contextlib.contextmanager
def wire(argv: list[str], env: dict[str, str]) -> Iterator[Wire]:
    """A program at the other end of a wire. A ``TTY`` in its arguments is the line's name; where
    there is none, the line is its standard input and output, and a terminal with an echo; with one
    it carries frames.
    """
    master, slave = os.openpty()
    if "TTY" in argv:
        tty.setraw(slave)
    name = os.ttyname(slave)
    on_line = None if "TTY" in argv else slave
    process = subprocess.Popen(
        [name if word == "TTY" else word for word in argv],
        stdin=on_line,
        stdout=on_line,
        stderr=on_line,
        env=env,
        start_new_session=True,
    )
    line = Wire(master, slave, framed=on_line is None)
    try:
        yield line
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        line.hang_up()


@functools.cache
def compiled_agent() -> Path:
    """The agent, compiled for this machine."""
    directory = tempfile.mkdtemp(prefix="harness-agent-")
    atexit.register(shutil.rmtree, directory)
    path = Path(directory) / "agent"
    source = IMAGES / "agent" / "agent.c"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return path


@contextlib.contextmanager
def agent_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AgentChannel, Wire]]:
    """A channel to the real agent, which is asked again soon."""
    monkeypatch.setattr(requests, "PATIENCE", 0.01)
    monkeypatch.setattr(requests, "LONGEST", 0.2)
    monkeypatch.setattr(agent, "PATIENCE", 0.01)
    monkeypatch.setattr(agent, "RUN_PATIENCE", 0.01)
    monkeypatch.setattr(agent, "FINISH_PATIENCE", 0.01)
    # What a killed command has said until then takes a loaded host long to read.
    monkeypatch.setattr(agent, "RESYNC", 30.0)
    with wire([str(compiled_agent()), "TTY"], dict(os.environ)) as line:
        yield AgentChannel(line, lambda: None), line


@contextlib.contextmanager
def shell_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ShellChannel, Wire]]:
    """A channel to a real shell that is started again when it ends, as init does."""
    monkeypatch.setattr(shell, "KNOCK", 0.2)
    monkeypatch.setattr(shell, "PATIENCE", 0.1)
    monkeypatch.setattr(shell, "ASK_AGAIN", 0.1)
    # Where there is no usleep, the real one takes a second.
    monkeypatch.setattr(ShellChannel, "probe", lambda c, t: float(c.run("echo 1", t).text))
    with tempfile.TemporaryDirectory() as directory:
        env = {**os.environ, "PS1": "/ # \x1b[6n", "TMPDIR": directory}
        with wire(["sh", "-c", "while :; do sh -i; done"], env) as line:
            yield ShellChannel(line, lambda: None), line


class Wired(Protocol):
    """Whatever is at the end of a wire."""

    wire: Wire


G = TypeVar("G", bound=Wired)


def damage_all(
    guest: G, exchange: Callable[[G], None], step: int, before: tuple[Damage, ...] = ()
) -> None:
    """Damages each `step`th byte of an exchange in each way, one after the other."""
    guest.wire.arm(*before)
    exchange(guest)
    lengths = {direction: guest.wire.passed(direction) for direction in (TO_GUEST, TO_HOST)}
    for offset, (direction, way) in enumerate(itertools.product(lengths, WAYS)):
        for at in range(offset % step, lengths[direction], step):
            damage = Damage(direction, at, way)
            guest.wire.arm(*before, damage)
            try:
                exchange(guest)
            except BaseException as error:
                error.add_note(str(damage))
                raise


def name(exchange: Callable[..., None]) -> str:
    """For a test's id."""
    return exchange.__name__
