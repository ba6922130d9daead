# SPDX-License-Identifier: MIT
"""Runs the build of untrusted code where it can do no harm: bubblewrap, and an eye on its appetite.

Inside, there is no network, no home and no ``/etc`` worth reading; the system is read only, and
nothing can be written but the directories of the build and what is thrown away with the sandbox.
A watcher ends it at its limits. Forking is faster than any watcher, so it has a limit of the
kernel's own: a control group for root, RLIMIT_NPROC for others.
"""

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.errors import BuildError, HarnessError
from harness.host import programs

INTERVAL = 0.02
"""Seconds between two looks at what the sandbox uses."""
END_SECONDS = 5.0
"""Seconds for killed processes to be gone."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_THROWN_AWAY = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/dev/shm")
_TMPFS_BYTES = 64 * 2**20
# What the system itself can limit; and a loaded machine shall have time for the watcher.
_LIMITED = ("nice", "-n", "10", "prlimit", "--core=0", f"--fsize={2**31}")
_GROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
"""Where the controller ``pids`` may be: version 1, and version 2."""
_JOIN = ("sh", "-c", 'echo $$ >"$0" && exec "$@"')
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
        group = _process_group(self.limits.processes)
        limited = [*_LIMITED, *_fork_limit(group, self.limits.processes)]
        try:
            process = subprocess.Popen(
                [*limited, *self.argv(command, cwd, environment, into)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=[into],
            )
        except FileNotFoundError as error:
            os.close(out)
            _remove_group(group)
            raise programs.missing("bwrap") from error
        finally:
            os.close(into)
        watcher = _Watcher(process, self, group)
        with os.fdopen(out, "rb") as report:
            try:
                watcher.start()
                yield Running(process, watcher, report)
            finally:
                watcher.kill()
                watcher.stop()
                process.wait()
                _remove_group(group)


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

    def __init__(
        self, process: subprocess.Popen[bytes], sandbox: Sandbox, group: Path | None
    ) -> None:
        super().__init__(name="sandbox", daemon=True)
        self._process = process
        self._group = group
        self.sandbox = sandbox
        self._end = threading.Event()
        self._begun, self._since = time.monotonic(), time.time()
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
        """No more looks, but a last one at what the kernel has counted."""
        self._end.set()
        if self.is_alive():
            self.join()
        if not self.why and _refused(self._group):
            self.why = f"it had more than {self.sandbox.limits.processes} processes at a time"

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
                    if info.st_ctime >= self._since:
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
        if len(pids) > limits.processes or _refused(self._group):
            return f"it had more than {limits.processes} processes at a time"
        now, computed = time.monotonic(), frozenset((pid, ticks(pid)) for pid in pids)
        if computed != self._busy[1]:
            self._busy = now, computed
        elif now - self._busy[0] > limits.idle:
            return f"it did nothing for more than {limits.idle:.0f} s"
        if resident(pids) > limits.memory:
            return f"it used more than {limits.memory >> 20} MiB of memory"
        return ""


_numbers = itertools.count()


def _process_group(most: int) -> Path | None:
    """A control group of at most `most` processes; None where we may make none."""
    for parent in _GROUPS:
        place = parent / f"harness-{os.getpid()}-{next(_numbers)}"
        with contextlib.suppress(OSError):
            place.mkdir()
            try:
                (place / "pids.max").write_text(f"{most}\n")
                return place
            except OSError:
                place.rmdir()
    return None


def _fork_limit(group: Path | None, most: int) -> list[str]:
    """The words before a command that limit how many processes it may have."""
    if group is not None:
        return [*_JOIN, str(group / "cgroup.procs")]
    uid = os.getuid()
    if uid == 0:
        return []  # the limit below does not hold for root; the watcher must do
    ours = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            ours += entry.name.isdigit() and entry.stat().st_uid == uid
    return ["prlimit", f"--nproc={ours + most}"]


def _refused(group: Path | None) -> bool:
    """Whether the kernel has refused a fork (``pids.events``, cgroup-v2.rst)."""
    if group is None:
        return False
    try:
        words = (group / "pids.events").read_text().split()
    except OSError:
        return False
    return "max" in words and words[words.index("max") + 1] != "0"


def _remove_group(group: Path | None) -> None:
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
        raise programs.missing("bwrap")
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
