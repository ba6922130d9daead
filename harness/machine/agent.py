# SPDX-License-Identifier: MIT
"""The command channel to our agent (``images/agent/agent.c`` defines the frames)."""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import pexpect

from harness.errors import HarnessError, UserError
from harness.machine.channel import (
    FRESH,
    Channel,
    CommandResult,
    Guard,
    expect_sum,
    timed_out,
)
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestCrash, GuestFileError, GuestStopped
from harness.machine.frames import Frame
from harness.machine.line import Line
from harness.machine.requests import PATIENCE, AnswerLost, Requests
from harness.machine.transcript import readable

T = TypeVar("T")
PUT_PIECE = 32 * 1024
RESYNC = 2.0
"""Seconds that a killed command gets to end."""
RUN_PATIENCE = 5.0
"""As `PATIENCE`, for commands. A question under way costs the guest time that may be measured."""
FINISH_PATIENCE = 0.3
"""As `PATIENCE`, for the end of a command that is not waited for any more."""
TRIES = 4
"""How often a file is read from its beginning where too much of it was lost on the way."""
OLDER = b"@0 0 ready 11 "
"""What an agent of the harness's first version says at its start."""


def _advance(frame: Frame) -> float:
    """Seconds by which the guest's clock advanced over its sleep of 1 ms."""
    before, after = (int(word) for word in frame.payload.split()[:2])
    return (after - before) / 1e9


def _printable(count: int) -> bytes:
    """So many random bytes, six random bits each. Until the agent has set it up the line is a
    terminal's, which stops all output at a ``^S``: then the agent never gets to say that it is
    there.
    """
    return bytes(ord("0") + (byte & 0x3F) for byte in os.urandom(count))


def _always() -> bool:
    """A guest that runs already takes what is sent."""
    return True


class AgentChannel(Channel):
    """Frames over a serial line of their own; standard output and error apart, binary-safe."""

    def __init__(self, line: Line, guard: Guard, listening: Callable[[], bool] = _always) -> None:
        """`listening` says whether the guest's driver of the line takes what is sent."""
        super().__init__()
        self._line = line
        self._listening = listening
        self._requests = Requests(line, guard)
        self._running = 0  # the run whose end has not been seen, 0 if none
        self.stray = bytearray()
        """What processes left in the background wrote after their command had ended."""

    def open(self, nonce: str, timeout: float) -> float:
        """See `Channel.open`. Whatever is on the line before the answer is passed over."""
        deadline = Deadline(timeout)
        start = len(self._line.stream)
        try:
            frame = self._requests.open(nonce, _printable(FRESH), deadline, self._listening)
        except pexpect.TIMEOUT:
            if OLDER in self._line.stream.bytes(start):
                raise UserError(
                    "the root image has an agent of another version of this harness: build the"
                    " image set again"
                ) from None
            raise timed_out("hello", deadline.elapsed, self._line.tails()) from None
        self.stirred = not frame.payload.endswith(b" unstirred")
        return _advance(frame)

    def _run(self, command: str, timeout: float) -> CommandResult:
        """See `Channel.run`. A command that times out is killed, and one whose output was lost."""
        deadline = Deadline(timeout)
        self._finish(command)
        since = time.monotonic()
        self._requests.send("run", command.encode(), deadline, RUN_PATIENCE)
        self._running = self._requests.seq
        output = {"out": bytearray(), "err": bytearray()}
        try:
            while (frame := self._answer(command, deadline)).kind in output:
                output[frame.kind] += frame.payload
        except pexpect.TIMEOUT:
            tails = f"{self._life_sign(since)}{self._line.tails()}"
            error = timed_out(command, deadline.elapsed, tails)
            error.output = bytes(output["out"])
            self._kill()
            raise error from None
        except AnswerLost:
            self._kill()
            raise
        except (GuestCrash, GuestStopped) as end:
            end.output = bytes(output["out"])
            raise
        if frame.kind != "exit":
            raise self._unexpected(command, frame)
        status, out, err = (int(word) for word in frame.payload.split())
        if (out, err) != (len(output["out"]), len(output["err"])):
            raise ConsoleError(
                f"of `{command}`'s output {len(output['out'])} of {out} bytes and"
                f" {len(output['err'])} of {err} on standard error arrived: frames were lost"
            )
        return CommandResult(
            command, bytes(output["out"]), bytes(output["err"]), status, deadline.elapsed
        )

    def _finish(self, command: str) -> None:
        """Passes over the rest of a run whose wait was broken off, by a crash or the deadline."""
        deadline = Deadline(RESYNC)
        insist = "again" if self.idle else "kill"
        self._requests.hurry(FINISH_PATIENCE)
        try:
            while self._running:
                self._sort(self._requests.next(command, deadline, self._running, insist))
        except AnswerLost:  # it never began, or its end is not kept any more
            self._running = 0
        except pexpect.TIMEOUT:
            raise ConsoleError(
                f"`{command}` cannot be run: the command before it has not ended\n"
                f"{self._line.tails()}"
            ) from None
        self.idle = True

    def _kill(self) -> None:
        """Has a command that timed out killed, without waiting: the guest may be silent."""
        self.idle = False
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF, HarnessError):
            self._requests.about(self._running, "kill", Deadline(RESYNC))

    def _life_sign(self, since: float) -> str:
        """A line on the agent where it has answered although a command does not end."""
        heard = self._requests.heard
        if heard is None or heard < since:
            return ""
        return f"the agent is alive: it answered {time.monotonic() - heard:.1f} s ago\n"

    def get(self, path: str, timeout: float) -> bytes:
        """See `Channel.get`."""
        what = f"get {path}"
        deadline = Deadline(timeout)

        def read() -> bytes:
            data = bytearray()
            self._request("get", path.encode(), deadline)
            while (frame := self._checked(what, deadline)).kind == "data":
                data += frame.payload
            self._sum(what, frame, bytes(data))
            return bytes(data)

        return self._several_tries(read)

    def get_many(self, patterns: Sequence[str], timeout: float) -> dict[str, bytes]:
        """See `Channel.get_many`."""
        what = f"get {' '.join(patterns)}"
        deadline = Deadline(timeout)

        def read() -> dict[str, bytes]:
            files: dict[str, bytearray] = {}
            content = bytearray()
            self._request("many", "\n".join(patterns).encode(), deadline)
            while (frame := self._checked(what, deadline)).kind in ("file", "data"):
                if frame.kind == "file":
                    path = frame.payload.decode("utf-8", "surrogateescape")
                    content = files[path] = bytearray()
                else:
                    content += frame.payload
            self._sum(what, frame, b"".join(files.values()))
            return {path: bytes(content) for path, content in files.items()}

        return self._several_tries(read)

    def _several_tries(self, read: Callable[[], T]) -> T:
        """The result of `read`, which is begun anew where too much of the answer was lost."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(AnswerLost):
                return read()
        return read()

    def put(self, path: str, data: bytes, mode: int, timeout: float) -> None:
        """See `Channel.put`."""
        what = f"put {path}"
        deadline = Deadline(timeout)
        self._request("put", f"{mode:o} {path}".encode(), deadline)
        self._checked(what, deadline)
        for start in range(0, len(data), PUT_PIECE):
            self._request("data", data[start : start + PUT_PIECE], deadline)
            self._checked(what, deadline)
        self._request("data", b"", deadline)
        self._sum(what, self._checked(what, deadline), data)

    def probe(self, timeout: float) -> float:
        """See `Channel.probe`."""
        deadline = Deadline(timeout)
        token = os.urandom(4).hex()
        self._request("ping", token.encode(), deadline)
        frame = self._checked("ping", deadline)
        if frame.kind != "pong" or frame.payload.split()[-1].decode() != token:
            raise self._unexpected("ping", frame)
        return _advance(frame)

    def leave_nonce(self, path: str, timeout: float) -> None:
        """Has the agent write the machine's nonce, as it knows it, to a file in the guest."""
        deadline = Deadline(timeout)
        self._request("nonce", path.encode(), deadline)
        frame = self._checked(f"nonce {path}", deadline)
        if frame.kind != "ok":
            raise self._unexpected(f"nonce {path}", frame)

    def _sum(self, what: str, frame: Frame, data: bytes) -> None:
        if frame.kind != "end":
            raise self._unexpected(what, frame)
        size, crc = frame.payload.split()
        expect_sum(what, (int(size), int(crc, 16)), (len(data), zlib.crc32(data)))

    def _request(self, kind: str, payload: bytes, deadline: Deadline) -> None:
        self._requests.send(kind, payload, deadline, PATIENCE)

    def _checked(self, what: str, deadline: Deadline) -> Frame:
        """The next answer; the guest's own "cannot" and a missing answer become errors."""
        try:
            frame = self._answer(what, deadline)
        except pexpect.TIMEOUT:
            raise timed_out(what, deadline.elapsed, self._line.tails()) from None
        if frame.kind == "fail":
            raise GuestFileError(f"in the guest, {what}: {readable(frame.payload)}")
        return frame

    def _answer(self, what: str, deadline: Deadline) -> Frame:
        """The next frame of the answer to the request under way."""
        while True:
            frame = self._requests.next(what, deadline)
            self._sort(frame)
            if frame.seq == self._requests.seq:
                return frame

    def _sort(self, frame: Frame) -> None:
        """Puts away what is no answer to the request under way, and notes the end of a run."""
        if frame.kind == "exit" and frame.seq == self._running:
            self._running = 0
        elif frame.kind in ("out", "err") and frame.seq != self._requests.seq:
            self.stray += frame.payload

    def _unexpected(self, what: str, frame: Frame) -> ConsoleError:
        return ConsoleError(
            f"answer to `{what}` (request {self._requests.seq}) is out of turn: {frame.kind} of"
            f" request {frame.seq}, {readable(frame.payload[:200])!r}"
        )
