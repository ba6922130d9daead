# SPDX-License-Identifier: MIT
"""Deadlines: every wait of the harness ends at one, unless a debugger has stopped the clock."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator


class Deadline:
    """A point on the monotonic clock, `seconds` from now. Under `Deadline.stopped` none ever
    comes.
    """

    stopped = False
    """True while a debugger holds the guest (``--qemu-gdb``): a breakpoint is no hang."""

    whole: Deadline | None = None
    """The end of all that a command of ours does; no other deadline is later."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def all_within(cls, seconds: float) -> Iterator[Deadline]:
        """No deadline in the block is later than `seconds` from now; yields that one."""
        before, whole = cls.whole, cls(seconds)
        cls.whole = whole
        try:
            yield whole
        finally:
            cls.whole = before

    @property
    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return time.monotonic() - self._start

    @property
    def remaining(self) -> float:
        """Seconds left, never negative; infinite while `stopped`."""
        if Deadline.stopped:
            return math.inf
        left = max(0.0, self.seconds - self.elapsed)
        whole = Deadline.whole
        return left if whole is None or whole is self else min(left, whole.remaining)

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0
