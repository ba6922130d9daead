# SPDX-License-Identifier: MIT
"""A scripted guest on a pty: it plays what a serial line can do to a harness, without QEMU."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pexpect.fdpexpect

from harness.machine.agent import HEADER, AgentChannel, encode
from harness.machine.crash import CrashWatcher
from harness.machine.errors import GuestCrash
from harness.machine.iothread import IoThread
from harness.machine.line import Line
from harness.machine.transcript import Transcript

Answer = Callable[["FakeAgent", int, str, bytes], None]


class FakeAgent:
    """The guest's side of the agent's line. `answer` decides what comes back for each request."""

    def __init__(self, fd: int, answer: Answer) -> None:
        self.fd = fd
        self.word = "0"
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        line: Any = pexpect.fdpexpect.fdspawn(self.fd, timeout=30)
        with contextlib.suppress(pexpect.EOF, pexpect.TIMEOUT, OSError, ValueError):
            while True:
                line.expect([HEADER])
                word, seq, kind, length, crc = line.match.groups()
                payload = line.read(int(length) + 1)[:-1] if int(length) else line.read(1)[:0]
                head = b"%s %s %s %s\n" % (word, seq, kind, length)
                assert zlib.crc32(payload, zlib.crc32(head)) == int(crc, 16), (
                    "the harness's own sum"
                )
                if kind == b"hello":
                    self.word = word.decode()
                self._answer(self, int(seq), kind.decode(), payload)

    def join(self) -> None:
        """Waits for the guest's end, once its line was hung up."""
        self._thread.join(10)
        assert not self._thread.is_alive()

    def raw(self, data: bytes) -> None:
        """Puts bytes on the line as they are."""
        while data:
            data = data[os.write(self.fd, data) :]

    def frame(self, seq: int, kind: str, payload: bytes = b"") -> bytes:
        """A right frame."""
        return encode(self.word, seq, kind, payload)

    def say(self, seq: int, kind: str, payload: bytes = b"") -> None:
        """Sends a right frame."""
        self.raw(self.frame(seq, kind, payload))


class Bench:
    """The harness's side: a channel and a kernel log over ptys, with a crash watcher."""

    def __init__(self, directory: Path | None) -> None:
        self.transcript = Transcript(directory)
        self.log = self.transcript.stream("ttyAMA0")
        self.watcher = CrashWatcher(self.log)
        self._io = IoThread.shared()
        self._fds: list[int] = []
        self.kernel = self._pty("ttyAMA0").guest
        self._line = self._pty("ttyAMA1")
        self.guest_fd = self._line.guest
        self.channel = AgentChannel(self._line.line, self.guard)

    class _Pty:
        def __init__(self, guest: int, line: Line) -> None:
            self.guest = guest
            self.line = line

    def _pty(self, name: str) -> _Pty:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._fds += [ours, theirs]
        streams = self.transcript.streams
        stream = streams[name] if name in streams else self.transcript.stream(name)
        self._io.drain(ours, stream)
        return Bench._Pty(theirs, Line(ours, stream, self.transcript))

    def guard(self) -> None:
        """As `Machine.guard`."""
        if self.watcher.head_seen:
            raise GuestCrash(self.watcher.take())

    def hang_up(self) -> None:
        """Closes the harness's ends of both lines: the guest reads its end."""
        for fd in self._fds[::2]:
            self._io.forget(fd)
            os.close(fd)

    def close(self) -> None:
        """Closes the guest's ends too; nobody may use them any more."""
        for fd in self._fds[1::2]:
            with contextlib.suppress(OSError):  # a test may have closed it
                os.close(fd)
        self.transcript.close()


@contextlib.contextmanager
def bench(answer: Answer, directory: Path | None = None) -> Iterator[tuple[Bench, FakeAgent]]:
    """A channel that was opened to a guest that answers as `answer` says."""

    def greet_first(agent: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "hello":
            agent.say(seq, "ready", b"0 1000000 agent 1")
        elif kind == "kill":
            agent.say(seq - 1, "exit", b"137 0 0")
        else:
            answer(agent, seq, kind, payload)

    bench = Bench(directory)
    agent = FakeAgent(bench.guest_fd, greet_first)
    try:
        bench.channel.open("abcd0123", 10)
        yield bench, agent
    finally:
        bench.hang_up()
        agent.join()  # its number of the line must not be used once that is another file's
        bench.close()
