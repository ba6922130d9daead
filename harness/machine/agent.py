# SPDX-License-Identifier: MIT
"""The command channel to our agent (``images/agent/agent.c`` defines the frames)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import zlib
from collections.abc import Sequence

import pexpect

from harness.errors import HarnessError
from harness.machine.channel import Channel, CommandResult, Guard, expect_sum, timed_out
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestCrash, GuestFileError, GuestStopped
from harness.machine.line import Line
from harness.machine.transcript import CHUNK, Cursor, readable

HEADER = re.compile(rb"@([0-9a-f]{1,39}) (\d{1,10}) ([a-z]{1,15}) (\d{1,7}) ([0-9a-f]{8})\n")
PUT_PIECE = 32 * 1024
RESYNC = 2.0
"""Seconds that a killed command gets to end."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame whose sum was right."""

    seq: int
    kind: str
    payload: bytes


def encode(nonce: str, seq: int, kind: str, payload: bytes) -> bytes:
    """A frame as it goes over the line."""
    head = f"{nonce} {seq} {kind} {len(payload)}".encode()
    return b"@%s %08x\n%s\n" % (head, zlib.crc32(payload, zlib.crc32(head + b"\n")), payload)


def _advance(frame: Frame) -> float:
    """Seconds by which the guest's clock advanced over its sleep of 1 ms."""
    before, after = (int(word) for word in frame.payload.split()[:2])
    return (after - before) / 1e9


class AgentChannel(Channel):
    """Frames over a serial line of their own; standard output and error apart, binary-safe."""

    def __init__(self, line: Line, guard: Guard) -> None:
        super().__init__()
        self._line = line
        self._guard = guard
        self._nonce = "0"
        self._seq = 0
        self._position = 0
        self._abandoned = 0  # the run whose end came after its wait had been broken off
        self._running = 0  # the run whose end has not been seen, 0 if none
        self.stray = bytearray()
        """What processes left in the background wrote after their command had ended."""

    def open(self, nonce: str, timeout: float) -> float:
        """See `Channel.open`. Whatever is on the line before the answer is passed over."""
        self._position = len(self._line.stream)
        self._nonce = nonce
        self._seq += 1
        deadline = Deadline(timeout)
        # The agent may not have the line open yet; then the tty drops or echoes what we say, but it
        # announces itself with the word "0" once it has, and is greeted again.
        self._send("hello", os.urandom(16), deadline)
        while True:
            try:
                frame = self._frame("hello", deadline, skip=True)
            except pexpect.TIMEOUT:
                raise timed_out("hello", deadline.elapsed, self._line.tails()) from None
            if frame.kind == "ready" and frame.seq == self._seq:
                return _advance(frame)
            if frame.kind == "ready" and frame.seq == 0:
                self._seq += 1
                self._send("hello", os.urandom(16), deadline)

    def _run(self, command: str, timeout: float) -> CommandResult:
        """See `Channel.run`. A command that times out is killed."""
        deadline = Deadline(timeout)
        self._finish(command)
        self._request("run", command.encode(), deadline)
        self._running = self._seq
        output = {"out": bytearray(), "err": bytearray()}
        try:
            while (frame := self._answer(command, deadline)).kind in output:
                output[frame.kind] += frame.payload
        except pexpect.TIMEOUT:
            error = timed_out(command, deadline.elapsed, self._line.tails())
            error.output = bytes(output["out"])
            self._kill()
            raise error from None
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
        try:
            while self._running:
                self._frame(command, deadline)
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
            self._request("kill", b"", Deadline(RESYNC))

    def get(self, path: str, timeout: float) -> bytes:
        """See `Channel.get`."""
        what = f"get {path}"
        deadline = Deadline(timeout)
        data = bytearray()
        self._request("get", path.encode(), deadline)
        while (frame := self._checked(what, deadline)).kind == "data":
            data += frame.payload
        self._sum(what, frame, bytes(data))
        return bytes(data)

    def get_many(self, patterns: Sequence[str], timeout: float) -> dict[str, bytes]:
        """See `Channel.get_many`."""
        what = f"get {' '.join(patterns)}"
        deadline = Deadline(timeout)
        files: dict[str, bytearray] = {}
        content = bytearray()
        self._request("many", "\n".join(patterns).encode(), deadline)
        while (frame := self._checked(what, deadline)).kind in ("file", "data"):
            if frame.kind == "file":
                content = files[frame.payload.decode("utf-8", "surrogateescape")] = bytearray()
            else:
                content += frame.payload
        self._sum(what, frame, b"".join(files.values()))
        return {path: bytes(content) for path, content in files.items()}

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
        word = os.urandom(4).hex()
        self._request("ping", word.encode(), deadline)
        frame = self._checked("ping", deadline)
        if frame.kind != "pong" or frame.payload.split()[-1].decode() != word:
            raise self._unexpected("ping", frame)
        return _advance(frame)

    def leave_word(self, path: str, timeout: float) -> None:
        """Has the agent write the machine's word, as it knows it, to a file in the guest."""
        deadline = Deadline(timeout)
        self._request("word", path.encode(), deadline)
        frame = self._checked(f"word {path}", deadline)
        if frame.kind != "ok":
            raise self._unexpected(f"word {path}", frame)

    def _sum(self, what: str, frame: Frame, data: bytes) -> None:
        if frame.kind != "end":
            raise self._unexpected(what, frame)
        size, crc = frame.payload.split()
        expect_sum(what, (int(size), int(crc, 16)), (len(data), zlib.crc32(data)))

    def _request(self, kind: str, payload: bytes, deadline: Deadline) -> None:
        self._seq += 1
        self._send(kind, payload, deadline)

    def _send(self, kind: str, payload: bytes, deadline: Deadline) -> None:
        self._line.send(encode(self._nonce, self._seq, kind, payload), deadline, self._guard)

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
        """The next frame that belongs to the request under way."""
        while True:
            frame = self._frame(what, deadline)
            if frame.seq == self._seq:
                return frame
            if frame.kind in ("out", "err") and frame.seq < self._seq:
                self.stray += frame.payload
            elif frame.seq != self._abandoned:
                raise self._unexpected(what, frame)

    def _unexpected(self, what: str, frame: Frame) -> ConsoleError:
        return ConsoleError(
            f"answer to `{what}` (request {self._seq}) is out of turn: {frame.kind} of request"
            f" {frame.seq}, {readable(frame.payload[:200])!r}"
        )

    def _frame(self, what: str, deadline: Deadline, skip: bool = False) -> Frame:
        """The next frame on the line. Bytes between frames are damage, unless `skip`."""
        stream = self._line.stream
        while True:
            cursor = Cursor(stream, self._position, self._guard)
            try:
                match = cursor.find(HEADER, deadline.remaining)
                start = cursor.position
                head, nonce = match[0], match[1].decode()
                seq, kind = int(match[2]), match[3].decode()
                length, crc = int(match[4]), int(match[5], 16)
                stream.wait(start + length, deadline.remaining, self._guard)
            except pexpect.TIMEOUT:
                self._damage_before(what, len(stream), skip)
                raise
            except pexpect.EOF:
                self._guard()
                raise ConsoleError(f"the agent's line ended while `{what}` was under way") from None
            payload = stream.bytes(start, start + length + 1)
            good = zlib.crc32(payload[:-1], zlib.crc32(head[1:-10] + b"\n")) == crc
            if good and payload[-1:] == b"\n":
                self._damage_before(what, start - len(head), skip)
                self._position = start + length + 1
                if nonce == self._nonce:
                    return self._seen(Frame(seq, kind, payload[:-1]))
                if kind == "ready" and seq == 0:
                    if skip:
                        return Frame(seq, kind, payload[:-1])
                    raise ConsoleError(f"the agent was started again while `{what}` was under way")
            if not skip:
                raise ConsoleError(
                    f"answer to `{what}`: frame {head!r} does not fit its sum or this machine's"
                    f" word {self._nonce}: bytes were lost, doubled or changed, or it is another's"
                )
            self._position = start if not good else self._position

    def _seen(self, frame: Frame) -> Frame:
        if frame.kind == "exit" and frame.seq == self._running:
            self._running = 0
            # Its end is told to nobody but the run itself; to any other it is a thing of the past.
            self._abandoned = frame.seq if frame.seq != self._seq else self._abandoned
        return frame

    def _damage_before(self, what: str, end: int, skip: bool) -> None:
        junk = self._line.stream.bytes(self._position, min(end, self._position + CHUNK))
        if junk and not skip:
            raise ConsoleError(f"answer to `{what}`: {junk[:80]!r} came where a frame should begin")
