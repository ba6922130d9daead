# SPDX-License-Identifier: MIT
"""Requests to our agent over a line that may lose or double bytes: each is served once, and each
answer comes whole, or its loss is an error.

What is missed is asked for again (``again``, see ``images/agent/agent.c``): at once where damage or
a gap shows it, else after a time of silence. Nothing else is ever sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pexpect

from harness.machine.channel import Guard
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError
from harness.machine.frames import Frame, FrameReader
from harness.machine.line import Line
from harness.machine.transcript import readable

PATIENCE = 1.0
"""Seconds without a frame of the answer after which it is asked for again; doubled each time."""
LONGEST = 8.0
"""Seconds that it is doubled up to."""


class AnswerLost(ConsoleError):
    """Of the answer to a request more was lost than the agent keeps."""


class Requests:
    """The harness's side of the agent's line."""

    def __init__(self, line: Line, guard: Guard) -> None:
        self._line = line
        self._guard = guard
        self._reader = FrameReader()
        self._damage = 0  # what of the reader's has been acted upon
        self._position = 0
        self._last = Frame("0", 0, 0, "", b"")
        self._taken: dict[int, int] = {}  # request -> frames of its answer that were taken
        self._asked: tuple[int, int] | None = None
        self._patience = Deadline(0)
        self._late: int | None = None  # what had come at the deadline ends here
        self.heard: float | None = None
        """When the agent last said anything (`time.monotonic`)."""

    @property
    def seq(self) -> int:
        """The last request."""
        return self._last.seq

    def open(
        self, nonce: str, greeting: bytes, deadline: Deadline, ready: Callable[[], bool]
    ) -> Frame:
        """Greets the agent until it answers, and returns the answer; all before it is passed over.

        The greeting goes out when the agent says that it has started, and while `ready` says that
        the guest takes what is sent. Raises `pexpect.TIMEOUT` at the deadline.
        """
        self._reader, self._damage = FrameReader(), 0
        self._position = len(self._line.stream)
        self._taken, self._late = {}, None
        hello = self._last = Frame(nonce, self.seq + 1, 0, "hello", greeting)
        self._patience = Deadline(PATIENCE / 2)
        if ready():
            self._send(hello, deadline)
        while True:
            frame = self._arrived("hello", deadline)
            if frame is None:
                if self._patience.expired:
                    again = ready()
                    self._wait_longer(1 + again)
                    if again:
                        self._send(hello, deadline)
            elif frame.kind == "ready" and (frame.nonce, frame.seq) == (nonce, hello.seq):
                self._taken[hello.seq] = frame.number
                return frame
            elif frame.kind == "ready" and (frame.nonce, frame.seq) == ("0", 0):
                self._send(hello, deadline)

    def send(self, kind: str, payload: bytes, deadline: Deadline, patience: float) -> None:
        """Sends the next request. Its answer is asked for again after `patience` seconds without
        a word of it.
        """
        self._last = Frame(self._last.nonce, self.seq + 1, 0, kind, payload)
        self._taken = {seq: n for seq, n in self._taken.items() if seq > self.seq - 8}
        self._patience = Deadline(patience)
        self._late = None
        self._send(self._last, deadline)

    def hurry(self, patience: float) -> None:
        """Changes the patience with the last request's answer."""
        self._patience = Deadline(patience)

    def about(self, seq: int, kind: str, deadline: Deadline) -> None:
        """Sends ``again`` or ``kill`` about a request, from the first frame on that is missing."""
        wanted = self._taken.get(seq, 0) + 1
        self._asked = seq, wanted
        self._send(Frame(self._last.nonce, seq, 0, kind, b"%d" % wanted), deadline)

    def next(
        self, what: str, deadline: Deadline, abandoned: int | None = None, insist: str = "again"
    ) -> Frame:
        """The next frame in order: of the answer to the last request, or of an earlier request's.

        The answer is asked for by `insist` when it does not come, and the request is sent again
        where it was lost. `abandoned`: another request to wait for, and not to send again.

        Raises `pexpect.TIMEOUT` at the deadline, `AnswerLost`, and `ConsoleError` where another
        than this machine's agent speaks.
        """
        seq = self.seq if abandoned is None else abandoned
        while True:
            frame = self._arrived(what, deadline)
            missed = frame is None
            if frame is not None:
                self._check(what, frame)
                taken = self._taken.get(frame.seq, 0)
                if not frame.number:
                    self._note(what, frame, abandoned, insist, deadline)
                # What is lost of an earlier request's stays lost.
                elif frame.number == taken + 1 or (frame.seq != seq and frame.number > taken):
                    self._taken[frame.seq] = frame.number
                    if frame.seq == seq:
                        self._patience = Deadline(self._patience.seconds)
                    return frame
                else:
                    missed = frame.seq == seq and frame.number > taken
            if self._patience.expired:
                self._wait_longer(2)
                self.about(seq, insist, deadline)
            elif missed and self._asked != (seq, self._taken.get(seq, 0) + 1):
                self.about(seq, "again", deadline)

    def _wait_longer(self, times: int) -> None:
        """What has begun to come and stays away does not go on; waits `times` as long from now."""
        self._reader.give_up()
        self._patience = Deadline(min(times * self._patience.seconds, LONGEST))

    def _note(
        self, what: str, frame: Frame, abandoned: int | None, insist: str, deadline: Deadline
    ) -> None:
        """Does what a frame without a number asks for."""
        if frame.seq != (abandoned or self.seq):
            return
        if frame.kind == "missing" and abandoned is None:
            self._send(self._last, deadline)
        elif frame.kind == "lost" and abandoned is not None and int(frame.payload):
            self._taken[abandoned] = int(frame.payload) - 1  # its end is all that is wanted
            self.about(abandoned, insist, deadline)
        elif frame.kind in ("missing", "lost"):
            raise AnswerLost(f"more of the answer to `{what}` was lost than the agent keeps")

    def _check(self, what: str, frame: Frame) -> None:
        if frame.nonce != self._last.nonce or frame.kind == "stranger":
            if frame.kind == "ready" and not frame.seq:
                raise ConsoleError(f"the agent was started again while `{what}` was under way")
            raise ConsoleError(
                f"answer to `{what}`: a frame of {frame.nonce}, and this machine's nonce is"
                f" {self._last.nonce}: it is another's"
            )
        if frame.seq > self.seq:
            raise ConsoleError(
                f"answer to `{what}` (request {self.seq}) is out of turn: {frame.kind} of request"
                f" {frame.seq}, {readable(frame.payload[:200])!r}"
            )

    def _send(self, frame: Frame, deadline: Deadline) -> None:
        self._line.send(frame.encode(), deadline, self._guard)

    def _arrived(self, what: str, deadline: Deadline) -> Frame | None:
        """The next frame on the line, whatever it is; None where there was damage and nothing
        whole behind it yet, or nothing came while there was patience.

        Raises `pexpect.TIMEOUT` at the deadline.
        """
        stream = self._line.stream
        while (frame := self._reader.next()) is None:
            if self._damage != self._reader.damage:
                break
            self._late = self._limit(deadline)
            try:
                left = min(deadline.remaining, self._patience.remaining)
                stream.wait(self._position, left, self._guard)
            except pexpect.TIMEOUT:
                if deadline.expired:
                    raise
                return None
            except pexpect.EOF:
                self._guard()
                raise ConsoleError(f"the agent's line ended while `{what}` was under way") from None
            data = stream.bytes(self._position, self._late)
            self._position += len(data)
            self._reader.feed(data)
        else:
            self.heard = time.monotonic()
        self._damage = self._reader.damage
        return frame

    def _limit(self, deadline: Deadline) -> int | None:
        """Up to where the line is read. Once the deadline is over, that is what has come until now:
        a guest that speaks without end would never be late. Raises `pexpect.TIMEOUT` there.
        """
        if not deadline.expired:
            return None
        limit = len(self._line.stream) if self._late is None else self._late
        if self._position >= limit:
            raise pexpect.TIMEOUT("the deadline is over")
        return limit
