# SPDX-License-Identifier: MIT
"""A serial line seen from the host: a stream that comes in and a way to send."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from typing import NoReturn

import pexpect

from harness.machine.channel import Guard, timed_out
from harness.machine.deadline import Deadline
from harness.machine.transcript import Stream, Transcript, readable

SLICE = 0.1
"""Seconds after which a blocked sender checks whether the guest still runs."""

HUNG_UP = 10
"""Seconds to wait, after a write to a closed line failed, for the reader to see the end."""


class Line:
    """One end of a serial line: `fd` must not block. The stream is filled by the I/O thread."""

    def __init__(
        self,
        fd: int,
        stream: Stream,
        transcript: Transcript,
        tails: Callable[[], str] | None = None,
    ) -> None:
        self.fd = fd
        self.stream = stream
        self.tails = tails or transcript.tails
        """The last output of the machine, for the error when it gives no answer."""
        self._transcript = transcript

    def send(self, data: bytes, deadline: Deadline, guard: Guard) -> None:
        """Sends all of `data`. Raises `GuestTimeout` where the guest does not take it in time."""
        self._transcript.sent(self.stream.name, data)
        left = memoryview(data)
        while left:
            guard()
            try:
                left = left[os.write(self.fd, left) :]
            except BlockingIOError:
                if deadline.expired:
                    what = readable(data[:80])
                    raise timed_out(f"sending {what}", deadline.elapsed, self.tails()) from None
                select.select([], [self.fd], [], min(SLICE, deadline.remaining))
            except OSError:
                self._hung_up(guard)

    def _hung_up(self, guard: Guard) -> NoReturn:
        """The other end is gone. The reader learns it a moment later; only then can `guard` tell
        what it was: a crash, a power-off, a QEMU that died."""
        seen = len(self.stream)
        deadline = Deadline(HUNG_UP)
        with contextlib.suppress(pexpect.TIMEOUT):
            while True:
                self.stream.wait(seen, deadline.remaining, guard)
                seen = len(self.stream)
        raise pexpect.EOF(f"{self.stream.name} is closed") from None
