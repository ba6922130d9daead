# SPDX-License-Identifier: MIT
"""Deadlines: every wait of the harness ends at one, unless a debugger has stopped the clock."""

from __future__ import annotations

import math
import time


class Deadline:
    """A point on the monotonic clock, `seconds` from now. Under `Deadline.stopped` none ever
    comes.
    """

    stopped = False
    """True while a debugger holds the guest (``--qemu-gdb``): a breakpoint is no hang."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return time.monotonic() - self._start

    @property
    def remaining(self) -> float:
        """Seconds left, never negative; infinite while `stopped`."""
        if Deadline.stopped:
            return math.inf
        return max(0.0, self.seconds - self.elapsed)

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0
