# SPDX-License-Identifier: MIT
"""A scripted guest on a pty: it plays the faults that a serial line can have, without QEMU."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.machine.agent import AgentChannel
from harness.machine.crash import CrashWatcher
from harness.machine.errors import GuestCrash
from harness.machine.frames import Frame, FrameReader
from harness.machine.iothread import IoThread
from harness.machine.line import Line
from harness.machine.transcript import Transcript

Answer = Callable[["FakeAgent", int, str, bytes], None]


class FakeAgent:
    """The guest's side of the agent's line. `answer` decides what comes back for each request.

    It keeps no answer: what the harness asks for again is `missing` where it never came, else
    `busy`.
    """

    def __init__(self, fd: int, answer: Answer) -> None:
        self.fd = fd
        self.nonce = "0"
        self.served = 0
        self.repeats = False
        """Whether `answer` is asked for ``again`` too."""
        self.greetings: list[bytes] = []
        """What came with each ``hello``."""
        self._sent: dict[int, int] = {}
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        reader = FrameReader()
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 4096):
                reader.feed(data)
                while (frame := reader.next()) is not None:
                    self._take(frame)
        assert not reader.damage, "the harness's own frames"

    def _take(self, frame: Frame) -> None:
        if frame.kind == "hello":
            self.nonce = frame.nonce
            self.greetings.append(frame.payload)
        if frame.kind == "again" and not self.repeats:
            self.raw(self.frame(frame.seq, "missing" if frame.seq > self.served else "busy"))
            return
        self.served = max(self.served, frame.seq)
        self._answer(self, frame.seq, frame.kind, frame.payload)

    def join(self) -> None:
        """Waits for the guest's end, once its line was hung up."""
        self._thread.join(10)
        assert not self._thread.is_alive()

    def hang_up(self) -> None:
        """Ends the line from the guest's side. Its number stays taken until `Bench.close`: another
        thread's file must not get it before that closes it.
        """
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self.fd)
        os.close(null)

    def raw(self, data: bytes) -> None:
        """Puts bytes on the line as they are."""
        while data:
            data = data[os.write(self.fd, data) :]

    def frame(self, seq: int, kind: str, payload: bytes = b"", number: int = 0) -> bytes:
        """A right frame."""
        return Frame(self.nonce, seq, number, kind, payload).encode()

    def next_frame(self, seq: int, kind: str, payload: bytes = b"") -> bytes:
        """The next frame of the answer to a request."""
        self._sent[seq] = self._sent.get(seq, 0) + 1
        return self.frame(seq, kind, payload, self._sent[seq])

    def say(self, seq: int, kind: str, payload: bytes = b"") -> None:
        """Sends it."""
        self.raw(self.next_frame(seq, kind, payload))


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
            os.close(fd)
        self.transcript.close()


@contextlib.contextmanager
def bench(
    answer: Answer, directory: Path | None = None, ready: bytes = b"agent 2"
) -> Iterator[tuple[Bench, FakeAgent]]:
    """A channel that was opened to a guest that answers as `answer` says."""

    def greet_first(agent: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "hello":
            agent.say(seq, "ready", b"0 1000000 " + ready)
        elif kind == "kill":
            agent.say(seq, "exit", b"137 0 0")
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
