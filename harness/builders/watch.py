# SPDX-License-Identifier: MIT
"""Watches what a confined build uses, and ends it at its limits; control groups of processes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from harness.host import confine

INTERVAL = 0.02
"""Seconds between two looks at what the sandbox uses."""
END_SECONDS = 5.0
"""Seconds for killed processes to be gone."""
GROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
"""Where the controller ``pids`` may be: version 1, and version 2."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one command in the sandbox may use."""

    seconds: float = 1200
    """Wall time."""
    idle: float = 60
    """Seconds in which none of its processes has computed: it waits for what does not come."""
    memory: int = 4 * 2**30
    """Bytes of memory of all its processes together, shared pages counted in each."""
    processes: int = 256
    """Processes at one time. A kernel's build on many cores has some four for each core."""
    disk: int = 2**30
    """Bytes by which the disk may fill meanwhile."""
    output: int = 32 * 2**20
    """Bytes of output."""

    @property
    def too_many(self) -> str:
        """What is said of one with too many processes."""
        return f"it had more than {self.processes} processes at a time"


def scaled(limits: Limits, jobs: int) -> Limits:
    """Limits for a make that runs `jobs` jobs."""
    return dataclasses.replace(
        limits,
        processes=limits.processes + 8 * jobs,
        memory=limits.memory + jobs * 2**28,
    )


class Watcher(threading.Thread):
    """Ends a sandbox that uses too much. `why` says so then."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        writable: Sequence[Path],
        limits: Limits,
        group: Path | None,
        gently: bool,
    ) -> None:
        """`gently`: the process itself ends all that it started, when it is told to."""
        super().__init__(name="sandbox", daemon=True)
        self._process = process
        self._group = group
        self._writable = writable
        self._gently = gently
        self.limits = limits
        self._end = threading.Event()
        self._begun, self._since = time.monotonic(), time.time()
        self._free = self._free_bytes()
        self._busy = (self._begun, frozenset[tuple[int, int]]())
        self.why = ""

    def run(self) -> None:
        """Checks at each interval, until it is stopped or a limit is exceeded."""
        while not self._end.wait(INTERVAL):
            self.why = self._excess()
            if self.why:
                self.kill()
                return

    def stop(self) -> None:
        """No more looks, but a last one at what the kernel has counted."""
        self._end.set()
        if self.is_alive():
            self.join()
        if not self.why and _refused(self._group):
            self.why = self.limits.too_many

    def kill(self) -> None:
        """Ends it, and with its first process all of them: they are gone when this returns."""
        if self._process.poll() is not None:
            return
        # Bubblewrap ends after the first process inside, and that one after all others. Were
        # bubblewrap itself killed, they would live on while we believe them gone.
        first = [] if self._gently else descendants(self._process.pid, 1)[1:]
        with contextlib.suppress(ProcessLookupError):
            if self._gently:
                self._process.terminate()
            for pid in first:
                os.kill(pid, signal.SIGKILL)
        if self._gently or first:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._writable[0]).free

    def _written(self, directory: Path) -> int:
        """Bytes on the disk of all files that were changed since the start."""
        total = 0
        for place, _, names in os.walk(directory):
            for name in names:
                with contextlib.suppress(OSError):
                    info = os.lstat(f"{place}/{name}")
                    if info.st_ctime >= self._since:
                        total += info.st_blocks * 512
        return total

    def _excess(self) -> str:
        limits = self.limits
        if time.monotonic() - self._begun > limits.seconds:
            return f"it ran for more than {limits.seconds:.0f} s"
        if self._free - self._free_bytes() > limits.disk:
            if sum(map(self._written, self._writable)) > limits.disk:
                return f"it filled the disk with more than {limits.disk >> 20} MiB"
            # Another process did.
            self._free = self._free_bytes()
        pids = descendants(self._process.pid, limits.processes)
        if len(pids) > limits.processes or _refused(self._group):
            return limits.too_many
        now, computed = time.monotonic(), frozenset((pid, ticks(pid)) for pid in pids)
        if computed != self._busy[1]:
            self._busy = now, computed
        elif now - self._busy[0] > limits.idle:
            return f"it did nothing for more than {limits.idle:.0f} s"
        if resident(pids) > limits.memory:
            return f"it used more than {limits.memory >> 20} MiB of memory"
        return ""


_numbers = itertools.count()


def process_group(most: int) -> Path | None:
    """A control group of at most `most` processes; None where we may make none."""
    sweep_groups()
    for parent in GROUPS:
        place = parent / f"harness-{os.getpid()}-{next(_numbers)}"
        with contextlib.suppress(OSError):
            place.mkdir()
            try:
                (place / "pids.max").write_text(f"{most}\n")
                return place
            except OSError:
                place.rmdir()
    return None


def sweep_groups() -> None:
    """Removes the groups that killed processes left behind; one that is in use stays."""
    for parent in GROUPS:
        for place in parent.glob("harness-*-*"):
            pid = place.name.split("-")[1]
            if pid.isdigit() and not Path("/proc", pid).exists():
                with contextlib.suppress(OSError):
                    place.rmdir()


def _refused(group: Path | None) -> bool:
    """Whether the kernel has refused a fork (``pids.events``, cgroup-v2.rst)."""
    if group is None:
        return False
    try:
        words = (group / "pids.events").read_text().split()
    except OSError:
        return False
    return "max" in words and words[words.index("max") + 1] != "0"


def remove_group(group: Path | None) -> None:
    """Removes it once its last process is gone; in version 1 the kernel has no event for that."""
    until = time.monotonic() + END_SECONDS
    while group is not None and time.monotonic() < until:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(INTERVAL)
        else:
            return


def descendants(pid: int, most: int) -> list[int]:
    """All processes below `pid`, itself included; some of them where there are more than `most`.

    In a sandbox no process can leave them: an orphan's parent is the sandbox's first process.
    """
    found: list[int] = []
    new = [pid]
    while new and len(found) <= most:
        found += new
        children: list[int] = []
        for parent in new[: most + 1]:
            with contextlib.suppress(OSError, ValueError):
                for task in Path(f"/proc/{parent}/task").iterdir():
                    text = (task / "children").read_text()
                    children += map(int, text.split())
        new = children
    return found


def ticks(pid: int) -> int:
    """The time that a process has computed (``utime`` and ``stime`` of ``/proc/PID/stat``)."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])
    return 0


def resident(pids: Sequence[int]) -> int:
    """Bytes that they have in memory (``/proc/PID/statm``, proc(5))."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def process_limit(most: int) -> dict[str, int]:
    """The limit of the processes of a confined program to `most`, where there is no control group:
    the kernel counts all of the uid.
    """
    uid = confine.other_uid()
    uid = os.getuid() if uid is None else uid
    there = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            there += entry.name.isdigit() and entry.stat().st_uid == uid
    # Some more, so that the watcher sees that there are too many.
    return {"RLIMIT_NPROC": there + most + max(most // 4, 16)}
