# SPDX-License-Identifier: MIT
"""Watches a kernel log for crashes: kinds, severity, and the trace to its end.

The heads are the kernel's own: ``kernel/panic.c``, ``arch/arm/kernel/traps.c``,
``arch/arm/mm/fault.c``, ``kernel/watchdog.c``, ``kernel/rcu/tree_stall.h``, ``kernel/hung_task.c``,
``mm/oom_kill.c``.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import threading
import time
from collections.abc import Callable

import pexpect

from harness.machine.transcript import Stream, readable


class Kind(enum.Enum):
    """What a crash is, most severe first."""

    PANIC = "panic"
    OOPS = "oops"
    UNDEFINED_INSTRUCTION = "undefined instruction"
    BUG = "BUG"
    LOCKUP = "lockup"
    RCU_STALL = "RCU stall"
    HUNG_TASK = "hung task"
    OOM = "out of memory"
    WARNING = "warning"

    @property
    def fatal(self) -> bool:
        """Whether the machine cannot be used any more after it."""
        return self in (Kind.PANIC, Kind.OOPS, Kind.UNDEFINED_INSTRUCTION, Kind.BUG, Kind.LOCKUP)


HEADS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Kind.PANIC, r"Kernel panic - not syncing"),
        (Kind.BUG, r"kernel BUG at |Internal error: Oops - BUG"),
        (Kind.UNDEFINED_INSTRUCTION, r"undefined instruction: (pc=|0 )"),
        (Kind.OOPS, r"Internal error: |Unable to handle kernel |Unhandled (fault|prefetch abort)"),
        (Kind.OOPS, r"Bad mode in .* handler detected|Alignment trap: not handling"),
        (Kind.LOCKUP, r"BUG: (soft|workqueue) lockup|hard LOCKUP|BUG: spinlock lockup"),
        (
            Kind.RCU_STALL,
            r"rcu\w*:? .*(detected stall|self-detected stall|detected expedited stall)",
        ),
        (Kind.HUNG_TASK, r"INFO: task \S+ blocked for more than \d+ seconds"),
        (Kind.OOM, r"invoked oom-killer|Out of memory: Kill"),
        (Kind.BUG, r"^BUG: |^BUG \S+ \("),
        (Kind.WARNING, r"^WARNING: "),
    )
)
STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ?")
CUT = re.compile(r"cut here")
END = re.compile(r"---\[ end (trace|Kernel panic)")
QUIET = 0.4
"""Seconds without a line after which a trace counts as complete (a panic that reboots prints no
end).
"""
LONGEST = 3.0
"""Seconds after which a trace is taken as it is, however much the guest still prints."""


def head_of(line: str, stamped: bool) -> Kind | None:
    """The kind of crash that a line of the log begins, if any.

    Where the kernel stamps its lines (`stamped`), only what follows a stamp is the kernel's: what a
    program prints on the same serial line is not taken for a crash.
    """
    stamps = list(STAMP.finditer(line))
    if stamps:
        line = line[stamps[-1].end() :]
    elif stamped:
        return None
    return next((kind for kind, pattern in HEADS if pattern.search(line)), None)


@dataclasses.dataclass(frozen=True)
class Crash:
    """One crash as the log shows it."""

    kinds: tuple[Kind, ...]
    """Every kind that the trace shows, in the order of the log; the first is the cause."""
    head: str
    """The line that began it."""
    trace: str
    """All lines from the head to the end of the trace, decoded."""
    start: int
    """Position of the head in the kernel log's stream."""

    @property
    def kind(self) -> Kind:
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
        self._cut = -1
        self._last = 0.0
        self.stamped = stamped
        """Whether this kernel stamps its lines; learnt from the log, or told for a clone."""
        self._heads: list[tuple[int, Kind, str]] = []
        self._taken: Crash | None = None
        # Never held while the log is waited for or read: a waiter may hold the log's own lock.
        self._taking = threading.Lock()
        log.listen(self._feed)

    @property
    def head_seen(self) -> bool:
        """Whether a crash has begun that nobody took yet."""
        return bool(self._heads)

    def _feed(self, data: bytes, now: float) -> None:
        self._last = now
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for raw in lines:
            line = readable(raw)
            self.stamped = self.stamped or STAMP.match(line) is not None
            kind = head_of(line, self.stamped)
            if CUT.search(line):
                self._cut = self._line_start
            elif kind is not None:
                start = self._cut if self._cut >= 0 else self._line_start
                self._heads.append((start, kind, STAMP.sub("", line).strip()))
                self._cut = -1
                self._log.wake()
            elif self._cut >= 0 and END.search(line):
                self._cut = -1
            self._line_start += len(raw) + 1

    def take(self) -> Crash:
        """Waits for the end of the trace that has begun, and takes it off the watch.

        The end is the kernel's end mark, the end of the log, or `QUIET` seconds without a word.
        Of several threads at once, all get the same crash.
        """
        with self._taking:
            if not self._heads and self._taken is not None:
                return self._taken
            start, _kind, head = self._heads[0]
        until = time.monotonic() + LONGEST
        while True:
            size = len(self._log)
            ended = END.search(self._log.text(start)) is not None
            quiet = 0.05 if ended else QUIET
            left = min(self._last + quiet, until) - time.monotonic()
            if left <= 0 or self._log.closed:
                break
            try:
                self._log.wait(size, left)
            except (pexpect.TIMEOUT, pexpect.EOF):
                continue
        trace = self._symbolise(self._log.text(start).rstrip())
        with self._taking:
            if self._heads:
                kinds = tuple(kind for _start, kind, _head in self._heads)
                self._heads = []
                self._taken = Crash(kinds, head, trace, start)
            assert self._taken is not None
            return self._taken
