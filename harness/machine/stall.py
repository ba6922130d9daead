# SPDX-License-Identifier: MIT
"""Notices when this host stands still, or a QEMU on it: what a guest did meanwhile proves nothing.

A guest cannot see that it was stopped: its clock goes on with the host's. So the host is asked, a
few times a second, from one thread of this process:

- whether each QEMU is stopped (``State`` in ``/proc/PID/stat``, proc(5): ``T``, ``t``),
- how long its threads waited for a processor (the second field of ``/proc/PID/task/TID/schedstat``,
  Linux's Documentation/scheduler/sched-stats.rst),
- whether this process itself slept much longer than it wanted to (it was stopped too, or the host
  was suspended), and how much time a hypervisor took from it (``steal`` in ``/proc/stat``).
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.2
"""Seconds between two looks."""
LIMIT = 2.0
"""Seconds in which QEMU was stopped that void what the machine showed. A deadline is a multiple of
that, a stall detector of the kernel's ten times as long."""
STREAK = 5.0
"""Seconds in a row without a processor that do so too. On a loaded host each machine has to wait a
little, again and again: that makes it slow, and is allowed for in the deadlines."""
SHARE = 0.3
"""The share of its life that a machine was without a processor, from which on that voids it."""
STARVED = 0.9
"""The share of an interval that a thread waits for a processor, or that is stolen, from which on
the interval counts as standing still: a guest with a tenth of a processor is some ten times as
slow, and deadlines allow for that."""


@dataclasses.dataclass
class StallSample:
    """What one look at a process saw."""

    stopped: bool
    delay: float
    """Seconds that one of its threads has waited for a processor so far, the longest of all."""


def look(pid: int, proc: Path = Path("/proc")) -> StallSample | None:
    """Looks at a process; None where it is gone."""
    try:
        state = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    delay = 0.0
    try:
        with os.scandir(proc / str(pid) / "task") as tasks:
            for task in tasks:
                words = (Path(task.path) / "schedstat").read_text().split()
                delay = max(delay, int(words[1]) / 1e9)
    except (OSError, ValueError, IndexError):
        pass  # a kernel without CONFIG_SCHED_INFO, or a thread that has just ended
    return StallSample(state in ("T", "t"), delay)


def stolen(proc: Path = Path("/proc")) -> float:
    """Seconds that a hypervisor took from each processor of this host so far, on average."""
    try:
        with (proc / "stat").open() as file:
            words = file.readline().split()
        ticks: int = os.sysconf("SC_CLK_TCK")
        return int(words[8]) / ticks / (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return 0.0


class Stalls:
    """How long one machine stood still."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stopped = 0.0
        """Seconds in which its QEMU was stopped by a signal or a debugger."""
        self.starved = 0.0
        """Seconds in which it, or this host as a whole, got next to no processor time."""
        self.longest = 0.0
        """The most of these in a row."""
        self.life = 0.0
        """Seconds that it was looked at."""
        self._streak = 0.0
        self._delay: float | None = None

    def reason(self) -> str:
        """Why what the machine showed proves nothing; empty where it does."""
        if self.stopped >= LIMIT:
            return f"QEMU was stopped for {self.stopped:.1f} s"
        if self.longest >= STREAK or self.starved >= max(STREAK, SHARE * self.life):
            return f"this host gave it no processor for {self.starved:.1f} of {self.life:.1f} s"
        return ""

    def note(self, sample: StallSample, elapsed: float, host: float) -> None:
        """Adds an interval: what was seen at its end, its length, and how much of it the host
        itself stood still, in seconds.
        """
        before, self._delay = self._delay, sample.delay
        waited = sample.delay - before if before is not None else 0.0
        self.life += elapsed
        without = 0.0
        if sample.stopped:
            self.stopped += elapsed
        elif host:
            without = host
        elif waited > STARVED * elapsed:
            without = min(waited, elapsed)
        self.starved += without
        self._streak = self._streak + without if without else 0.0
        self.longest = max(self.longest, self._streak)


class StallWatch:
    """Looks at all machines of this process."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = time.process_time,
        theft: Callable[[], float] = stolen,
        seen: Callable[[int], StallSample | None] = look,
    ) -> None:
        self._clock = clock
        self._busy = busy
        self._theft = theft
        self._seen = seen
        self._watched: list[Stalls] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last = (clock(), busy(), theft())

    def watch(self, pid: int) -> Stalls:
        """Looks at a QEMU from now on, until it is gone."""
        stalls = Stalls(pid)
        with self._lock:
            self._watched.append(stalls)
            if self._thread is None or not self._thread.is_alive():
                self._last = (self._clock(), self._busy(), self._theft())
                self._thread = threading.Thread(target=self._run, name="stall-watch", daemon=True)
                self._thread.start()
        return stalls

    def tick(self) -> None:
        """Looks once."""
        now, busy, theft = self._clock(), self._busy(), self._theft()
        with self._lock:
            before, self._last = self._last, (now, busy, theft)
            elapsed = now - before[0]
            # A process that was busy overslept by itself: that is no fault of the host's.
            overslept = elapsed - INTERVAL - (busy - before[1])
            host = overslept if overslept > 1.0 else 0.0
            if theft - before[2] > STARVED * elapsed > 0:
                host = elapsed
            for stalls in list(self._watched):
                sample = self._seen(stalls.pid)
                if sample is None:
                    self._watched.remove(stalls)
                else:
                    stalls.note(sample, elapsed, host)

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            self.tick()
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return


_watches: dict[int, StallWatch] = {}


def shared() -> StallWatch:
    """This process's; a forked child has none of its parent's threads."""
    pid = os.getpid()
    if pid not in _watches:
        _watches.clear()
        _watches[pid] = StallWatch()
    return _watches[pid]
