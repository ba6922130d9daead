# SPDX-License-Identifier: MIT
"""Watches a kernel log as it grows for crashes, and takes each trace to its end."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pexpect

from harness.machine.kernelwords import END, STAMP, CrashKind
from harness.machine.logreader import Head, LogReader
from harness.machine.transcript import Stream, readable

__all__ = ["STAMP", "Crash", "CrashKind", "CrashWatcher"]

QUIET = 0.4
"""Seconds without a line after which a trace counts as complete."""
STALLED = 2.0
"""The same for what ends with a mark, or with the machine: it is the host that stands still."""
_MARKED = (CrashKind.PANIC, CrashKind.OOPS, CrashKind.UNDEFINED_INSTRUCTION, CrashKind.WARNING)
_MARKED_BUG = ("kernel BUG at ", "Internal error: ")
LONGEST = 6.0
"""Seconds after which a trace is taken as it is, however much the guest still prints."""


@dataclasses.dataclass(frozen=True)
class Crash:
    """One crash as the log shows it."""

    kinds: tuple[CrashKind, ...]
    """Every kind that the trace shows, in the order of the log; the first is the cause."""
    head: str
    """The line that began it."""
    trace: str
    """All lines from the head to the end of the trace, decoded."""
    start: int
    """Position of the head in the kernel log's stream."""

    @property
    def kind(self) -> CrashKind:
        """The cause."""
        return self.kinds[0]

    @property
    def fatal(self) -> bool:
        """Whether the machine cannot be used any more."""
        return any(kind.fatal for kind in self.kinds)

    def describe(self) -> str:
        """The head and the trace, for a failure report."""
        also = [kind.value for kind in dict.fromkeys(self.kinds[1:]) if kind is not self.kind]
        then = f" (then {', '.join(also)})" if also else ""
        return f"the guest's kernel reports a {self.kind.value}{then}: {self.head}\n{self.trace}"


TRACE_MAX = 32 * 1024
"""Bytes of a trace that are shown. A kernel that warns without end must not fill the reports."""


PARTIAL_MAX = 8 * 1024
"""Bytes that are kept of a line without an end."""


class CrashWatcher:
    """Reads a kernel log as it grows. `head_seen` turns true at the first line of a crash."""

    def __init__(
        self,
        log: Stream,
        symbolise: Callable[[str], str] = lambda text: text,
        stamped: bool = False,
    ) -> None:
        self._log = log
        self._symbolise = symbolise
        self._partial = b""
        self._line_start = 0
        self._left_out = 0  # bytes of the line that has not ended
        self._last = 0.0
        self._reader = LogReader(stamped)
        self._heads: list[Head] = []
        self._taken: Crash | None = None
        # Never held while the log is waited for or read: a waiter may hold the log's own lock.
        self._taking = threading.Lock()
        log.listen(self._feed)

    @property
    def stamped(self) -> bool:
        """Whether this kernel stamps its lines; learnt from the log, or told for a clone."""
        return self._reader.stamped

    @property
    def head_seen(self) -> bool:
        """Whether a crash has begun that nobody took yet."""
        return bool(self._heads)

    def _feed(self, data: bytes, now: float) -> None:
        self._last = now
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for raw in lines:
            self._line_start += self._left_out
            self._left_out = 0
            if heads := self._reader.feed(readable(raw), self._line_start):
                self._heads += heads
                self._log.wake()
            self._line_start += len(raw) + 1
        if (more := len(self._partial) - PARTIAL_MAX) > 0:
            # A program prints without line ends. The kernel's next words come behind it.
            self._partial = self._partial[more:]
            self._left_out += more

    def take(self) -> Crash:
        """Waits for the end of the trace that has begun; the crash is then no longer pending.

        The end is the kernel's end mark, the end of the log, or `QUIET` seconds without output;
        `STALLED` of a report that always has an end mark.
        Of several threads at once, all get the same crash.
        """
        with self._taking:
            if not self._heads and self._taken is not None:
                return self._taken
            head = self._heads[0]
            start = head.start
        marked = head.kind in _MARKED or head.text.startswith(_MARKED_BUG)
        quietest = STALLED if marked else QUIET
        until = time.monotonic() + LONGEST
        while True:
            size = len(self._log)
            ended = END.search(self._log.text(start, start + TRACE_MAX)) is not None
            quiet = 0.05 if ended else quietest
            left = min(self._last + quiet, until) - time.monotonic()
            if left <= 0 or self._log.closed:
                break
            try:
                self._log.wait(size, left)
            except (pexpect.TIMEOUT, pexpect.EOF):
                continue
        trace = self._symbolise(self._log.text(start, start + TRACE_MAX).rstrip())
        if (more := len(self._log) - start - TRACE_MAX) > 0:
            trace += f"\n… {more} bytes more; the transcript has them"
        with self._taking:
            if self._heads:
                kinds = tuple(head.kind for head in self._heads)
                self._heads = []
                self._taken = Crash(kinds, head.text, trace, start)
            assert self._taken is not None
            return self._taken
