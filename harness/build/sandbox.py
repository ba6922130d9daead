# SPDX-License-Identifier: MIT
"""Runs the build of untrusted code where it can do no harm: bubblewrap, and an eye on its appetite.

Inside, there is no network, no home and no ``/etc`` worth reading; the system is read only, and
nothing can be written but the directories of the build and what is thrown away with the sandbox.
A watcher ends it at its limits. A control group would be stricter, but needs rights that a user
does not have everywhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.build import tools
from harness.errors import BuildError, HarnessError

INTERVAL = 0.02
"""Seconds between two looks at what the sandbox uses."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_THROWN_AWAY = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/dev/shm")
_TMPFS_BYTES = 64 * 2**20
# What the system itself can limit; and a loaded machine shall have time for the watcher.
_LIMITED = ("nice", "-n", "5", "prlimit", "--core=0", f"--fsize={2**31}")
# The first process of the sandbox's own process space: when it ends, all end. What it says at the
# end is for us alone, so the build does not get the descriptor.
_REPORT = r"""
fd=$1; shift
"$@" {fd}>&-
status=$?
{
  echo "places"; find @PLACES@ -xdev -mindepth 1 ! -type d | head -n 20
  echo "network"; cat /proc/net/snmp
} 2>/dev/null >&"$fd"
exit $status
"""


class Contained(BuildError):
    """The build tried what the sandbox forbids, or hit one of its limits. `what` is one line."""

    def __init__(self, what: str, detail: str = "") -> None:
        super().__init__(f"{what}\n{detail}".rstrip())
        self.what = what


class NoSandbox(HarnessError):
    """This host cannot run one."""


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


def scaled(limits: Limits, jobs: int) -> Limits:
    """Limits for a make that runs `jobs` jobs."""
    return dataclasses.replace(
        limits,
        processes=limits.processes + 8 * jobs,
        memory=limits.memory + jobs * 2**28,
    )


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """Where commands of a build run. `writable` are absolute directories, and only these."""

    writable: tuple[Path, ...]
    limits: Limits = Limits()

    def argv(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], report: int
    ) -> list[str]:
        """The command, wrapped; the report of its end goes to the descriptor `report`.

        Of the environment it sees PATH and `environment` only: the caller's may hold secrets.
        """
        argv = ["bwrap", "--unshare-all", "--unshare-user", "--cap-drop", "ALL"]
        argv += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox"]
        for path in _SYSTEM:
            argv += ["--ro-bind-try", path, path]
        for name in _ETC:
            argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        argv += ["--proc", "/proc", "--dev", "/dev"]
        places = list(dict.fromkeys([*_THROWN_AWAY, str(Path.home())]))
        for path in places:
            argv += ["--size", str(_TMPFS_BYTES), "--tmpfs", path]
        for directory in self.writable:
            argv += ["--bind", str(directory), str(directory)]
        variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/home", **environment}
        argv.append("--clearenv")
        for name, value in variables.items():
            argv += ["--setenv", name, value]
        argv += ["--chdir", str(cwd)]
        script = _REPORT.replace("@PLACES@", " ".join(places))
        return [*argv, "--", "bash", "-c", script, "sandbox", str(report), *command]

    @contextlib.contextmanager
    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> Iterator[Running]:
        """Starts the command, and watches it until the block ends; nothing of it is left then.

        Raises `UserError` where bubblewrap is not installed.
        """
        out, into = os.pipe()
        try:
            process = subprocess.Popen(
                [*_LIMITED, *self.argv(command, cwd, environment, into)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=[into],
            )
        except FileNotFoundError as error:
            os.close(out)
            raise tools.missing("bwrap") from error
        finally:
            os.close(into)
        watcher = _Watcher(process, self)
        watcher.start()
        with os.fdopen(out, "rb") as report:
            try:
                yield Running(process, watcher, report)
            finally:
                watcher.kill()
                watcher.stop()
                process.wait()


@dataclasses.dataclass(frozen=True)
class Running:
    """A started command."""

    process: subprocess.Popen[bytes]
    _watcher: _Watcher
    _report: IO[bytes]

    def ended(self, status: int, output: str) -> None:
        """To be called at its end with its exit status and what it has printed.

        Raises `Contained` for what it must not do.
        """
        self._watcher.stop()
        tail = "\n".join(output.splitlines()[-5:])
        if self._watcher.why:
            raise Contained(self._watcher.why, tail)
        limits = self._watcher.sandbox.limits
        if len(output) >= limits.output:
            raise Contained(f"it printed more than {limits.output >> 20} MiB")
        said = offences(self._report.read().decode(errors="replace"), output)
        if said:
            raise Contained(said[0], "\n".join(said[1:]))
        if status and "No space left on device" in output:
            raise Contained("it filled a place that is thrown away with the sandbox", tail)


class _Watcher(threading.Thread):
    """Ends a sandbox that uses too much. `why` says so then."""

    def __init__(self, process: subprocess.Popen[bytes], sandbox: Sandbox) -> None:
        super().__init__(name="sandbox", daemon=True)
        self._process = process
        self.sandbox = sandbox
        self._end = threading.Event()
        self._begun, self._started = time.monotonic(), time.time()
        self._free = self._free_bytes()
        self._busy = (self._begun, frozenset[tuple[int, int]]())
        self.why = ""

    def run(self) -> None:
        """Looks until told to stop, or until there is a reason to end it."""
        while not self._end.wait(INTERVAL):
            self.why = self._excess()
            if self.why:
                self.kill()
                return

    def stop(self) -> None:
        """No more looks."""
        self._end.set()
        if self.is_alive():
            self.join()

    def kill(self) -> None:
        """Ends it, and with its first process all of them."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.sandbox.writable[0]).free

    def _written(self, directory: Path) -> int:
        """Bytes on the disk of all files that were changed since the start."""
        total = 0
        for place, _, names in os.walk(directory):
            for name in names:
                with contextlib.suppress(OSError):
                    info = os.lstat(f"{place}/{name}")
                    if info.st_ctime >= self._started:
                        total += info.st_blocks * 512
        return total

    def _excess(self) -> str:
        limits = self.sandbox.limits
        if time.monotonic() - self._begun > limits.seconds:
            return f"it ran for more than {limits.seconds:.0f} s"
        if self._free - self._free_bytes() > limits.disk:
            if sum(map(self._written, self.sandbox.writable)) > limits.disk:
                return f"it filled the disk with more than {limits.disk >> 20} MiB"
            # Somebody else did.
            self._free = self._free_bytes()
        pids = descendants(self._process.pid, limits.processes)
        if len(pids) > limits.processes:
            return f"it had more than {limits.processes} processes at a time"
        now, computed = time.monotonic(), frozenset((pid, ticks(pid)) for pid in pids)
        if computed != self._busy[1]:
            self._busy = now, computed
        elif now - self._busy[0] > limits.idle:
            return f"it did nothing for more than {limits.idle:.0f} s"
        if resident(pids) > limits.memory:
            return f"it used more than {limits.memory >> 20} MiB of memory"
        return ""


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


def offences(report: str, output: str) -> list[str]:
    """What a build did that it must not do, a line each: by the report of the sandbox's end, and
    by what its programs said.
    """
    places, _, network = report.partition("network\n")
    said = [f"it wrote outside its tree: {path}" for path in places.splitlines()[1:] if path]
    counters = _counters(network)
    tried = counters.get("Ip.OutNoRoutes", 0) + counters.get("Tcp.ActiveOpens", 0)
    if tried or counters.get("Udp.OutDatagrams", 0) or counters.get("Icmp.OutMsgs", 0):
        said.append("it tried to reach the network")
    refused = (line for line in output.splitlines() if "Read-only file system" in line)
    said += [f"it tried to write outside its tree: {line[:200]}" for line in list(refused)[:3]]
    return said


def _counters(text: str) -> dict[str, int]:
    """``/proc/net/snmp``: for each protocol a line of names and one of values."""
    lines = [line.split() for line in text.splitlines()]
    return {
        f"{names[0].rstrip(':')}.{name}": int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=False)
        for name, value in zip(names[1:], values[1:], strict=False)
    }


def check() -> None:
    """Raises `NoSandbox` with what to do where bubblewrap cannot be used here, `UserError` where
    it is not installed.
    """
    if shutil.which("bwrap") is None:
        raise tools.missing("bwrap")
    argv = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSandbox(
            f"the sandbox does not start: {done.stderr.strip()}\nA patch is untrusted code, and its"
            " build is run in bubblewrap only. Unprivileged user namespaces must be allowed: see"
            " sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone (Debian) and"
            " kernel.apparmor_restrict_unprivileged_userns (Ubuntu); in a container, its seccomp"
            " profile"
        )
