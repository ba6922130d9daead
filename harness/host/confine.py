# SPDX-License-Identifier: MIT
"""Confines a program that is not trusted, or that reads what is not: as strictly as this host can.

Where there are namespaces (bubblewrap): no network, no home, the system read only, ``/proc`` as
container runtimes show it, another uid where root runs us, and nothing to write but what is given.
Where there are none (most containers): another uid, Landlock, limits. Both: no new privileges, and
a filter of system calls. `find` tries what will be done, and says which it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import marshal
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.host import launch, seccomp
from harness.host.process import kill_group
from harness.host.witness import Witness

_UIDS = range(61183, 60705, -1)
"""Neither Debian's policy nor systemd's (UIDS-GIDS) gives these to anybody."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_EMPTY = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/dev/shm")
# As runc has them by default (libcontainer's masked and read-only paths).
_MASKED = (
    *("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats"),
    *("sched_debug", "scsi", "kallsyms", "kmsg", "interrupts", "vmallocinfo"),
)
_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_TRY_SECONDS = 20.0
# bubblewrap's first process holds the host's /proc until it has closed what it inherited, and
# whoever has its uid could go through that. Root without its capabilities may not enter the
# program's directory; the program may.
_BEGIN = """\
held=x tries=0
while [ $held ] && [ $tries -lt 10000 ]; do
    held= tries=$((tries + 1))
    for f in /proc/1/fd/*; do [ -d "$f" ] && held=x; done
done
(: >>"$0") 2>/dev/null; cd "$1" && shift && exec "$@"
"""


class Means(enum.Enum):
    """What a program can be confined by, the best first."""

    NAMESPACES = "namespaces"
    HOST_PROC = "namespaces, with the host's /proc read only"
    """Containers mask their ``/proc``, and then the kernel lets nobody mount a new one."""
    BARE = "no namespaces"


class NoMeans(Exception):
    """Nothing that would do works here. The text says what was tried, a line each."""


@dataclasses.dataclass(frozen=True)
class Confinement:
    """What is in force on this host."""

    means: Means
    uid: int | None
    """The uid that the program gets; None for our own."""
    filtered: bool
    """Whether system calls are filtered."""
    asked: bool
    """Whether attempts are seen, whatever the program says."""
    landlock: int
    """Version of Landlock that is used; 0 for none."""

    def __str__(self) -> str:
        words = [self.means.value]
        words.append("our own uid" if self.uid is None else f"uid {self.uid}")
        words.append("system calls filtered" if self.filtered else "no filter of system calls")
        if self.landlock:
            words.append(f"Landlock {self.landlock}")
        if not self.asked:
            words.append("attempts are not seen")
        return ", ".join(words)


@dataclasses.dataclass(frozen=True)
class Program:
    """What is to be run. Paths are absolute; a `writable` directory is `readable` too."""

    command: tuple[str, ...]
    cwd: Path
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Besides PATH and HOME all that it gets: ours may hold secrets."""
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By the names of the module `resource`: ``RLIMIT_FSIZE``."""
    group: Path | None = None
    """``cgroup.procs`` of a control group to be in."""
    nice: int = 0

    @property
    def starter_variables(self) -> dict[str, str]:
        """The environment of what starts it, which the program may be able to read."""
        kept = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
        return {**self.variables, **{name: value for name, value in kept.items() if value}}

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment. Python writes no caches, git reads no settings."""
        path = os.environ.get("PATH", os.defpath)
        return {
            "PATH": path,
            "HOME": "/home",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **self.environment,
        }


@functools.cache
def other_uid() -> int | None:
    """The uid of confined programs where we are root; None where we are not, and cannot choose."""
    if os.getuid() != 0:
        return None
    for uid in _UIDS:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    return 65534


def give(path: Path) -> None:
    """Makes a file or directory, not what it leads to, that of the confined programs."""
    uid = other_uid()
    if uid is not None:
        os.chown(path, uid, uid, follow_symlinks=False)


def give_tree(root: Path) -> None:
    """The same for all below and `root` itself, following no link."""
    if other_uid() is None:
        return
    give(root)
    for place, directories, names in os.walk(root):
        for name in (*directories, *names):
            give(Path(place, name))


def namespaces(uid: int | None) -> list[str]:
    """The bubblewrap command with the namespaces in which a program of this uid is started; what
    it sees is to be added. Root needs no user namespace, and in one its uid 0 would be the host's.
    """
    argv = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
    if uid is None:
        argv.append("--unshare-user")
    else:
        argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*argv, "--die-with-parent", "--new-session", "--hostname", "sandbox"]


def becoming(uid: int | None) -> list[str]:
    """The words before a command that make root another."""
    if uid is None:
        return []
    argv = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    return [*argv, "--inh-caps=-all", "--no-new-privs", "--"]


def proc_mounts(own: bool) -> list[str]:
    """A ``/proc`` of the sandbox's own processes, its dangerous parts read only or empty; or the
    host's, all of it read only.
    """
    argv = ["--proc", "/proc"] if own else ["--ro-bind", "/proc", "/proc"]
    for name in _READ_ONLY:
        if own and Path("/proc", name).exists():
            argv += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    for name in _MASKED:
        place = Path("/proc", name)
        if place.is_dir():
            argv += ["--tmpfs", str(place), "--remount-ro", str(place)]
        elif place.exists():
            argv += ["--ro-bind", "/dev/null", str(place)]
    return argv


def system_mounts() -> list[str]:
    """The system's programs and libraries, read only."""
    argv = directories([Path("/etc")])
    return [*argv, *(word for path in (*SYSTEM, *ETC) for word in ("--ro-bind-try", path, path))]


def directories(paths: Iterable[Path]) -> list[str]:
    """Directories that another uid can pass: those that bubblewrap makes on the way are 0700."""
    return [word for path in paths for word in ("--perms", "0755", "--dir", str(path))]


def _home() -> list[str]:
    """The user's home directory, where he has one of his own (a daemon's may be the root)."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path's raises where there is none)
    return [str(home)] if home.is_absolute() and home.resolve() != Path("/") else []


def _bwrap(how: Confinement, program: Program, filter_fd: int | None) -> list[str]:
    argv = namespaces(how.uid)
    argv += [*system_mounts(), *proc_mounts(how.means is Means.NAMESPACES), "--dev", "/dev"]
    empty = list(dict.fromkeys([*_EMPTY, *_home()]))
    for name in empty:
        argv += ["--tmpfs", name]
    given = (*program.readable, *program.writable)
    argv += directories(dict.fromkeys(p for path in given for p in reversed(path.parents)))
    for path in program.readable:
        argv += ["--ro-bind", str(path), str(path)]
    for path in program.writable:
        argv += ["--bind", str(path), str(path)]
    for name in (*empty, "/dev", "/"):
        argv += ["--remount-ro", name]
    argv.append("--clearenv")
    for name, value in program.variables.items():
        argv += ["--setenv", name, value]
    if filter_fd is not None:
        argv += ["--seccomp", str(filter_fd)]
    return [*argv, "--", *becoming(how.uid)]


@contextlib.contextmanager
def prepared(
    how: Confinement, program: Program
) -> Iterator[tuple[list[str], list[int], Witness | None]]:
    """The command to start, the descriptors that it must inherit, and who sees what it tries.

    To be started within the block; the witness goes on after it, until its `end`.
    """
    architecture = seccomp.machine() if how.filtered else None
    begin = f"/begin-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        passed: list[int] = []
        plan: dict[str, object] = {"group": program.group and str(program.group)}
        plan |= {"nice": program.nice, "limits": dict(program.limits), "ask": b"", "bare": None}
        witness = None
        if how.asked and architecture:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            passed.append(theirs.fileno())
            rules = seccomp.assemble(seccomp.questions(), architecture)
            plan |= {"ask": rules, "speak": theirs.fileno()}
            bare = how.means is Means.BARE
            witness = Witness(
                ours, program.writable, "" if bare else begin, how.uid if bare else None
            )
            witness.start()
        signals = how.means is not Means.BARE or how.uid is not None
        refusals = seccomp.refusals(how.asked, signals)
        code = seccomp.assemble(refusals, architecture) if architecture else b""
        if how.means is Means.BARE:
            plan["bare"] = _bare(how, program, code)
            words = list(program.command)
        else:
            filter_fd = _memory_file(stack, code) if code else None
            passed += [filter_fd] if filter_fd is not None else []
            words = _bwrap(how, program, filter_fd)
            words += ["sh", "-c", _BEGIN, begin, str(program.cwd), *program.command]
        place = str(Path(launch.__file__).parent)
        starter = [sys.executable, "-I", "-S", "-c", launch.STARTER, place, _packed(plan)]
        try:
            yield [*starter, *words], passed, witness
        except BaseException:
            if witness is not None:
                witness.end()
            raise


def _packed(plan: dict[str, object]) -> str:
    return marshal.dumps(plan).hex()


def _bare(how: Confinement, program: Program, code: bytes) -> dict[str, object]:
    readable = [*SYSTEM, *ETC, "/proc", *map(str, program.readable)]
    return {
        "uid": how.uid,
        "cwd": str(program.cwd),
        "landlock": how.landlock,
        "readable": readable,
        "writable": [*_DEVICES, *map(str, program.writable)],
        "filter": code,
        "environment": program.variables,
    }


def _memory_file(stack: contextlib.ExitStack, data: bytes) -> int:
    descriptor = os.memfd_create("filter")
    stack.callback(os.close, descriptor)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def run(
    how: Confinement,
    program: Program,
    seconds: float,
    data: bytes = b"",
    seen: list[str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs it to its end; what it tried is added to `seen`.

    Raises `subprocess.TimeoutExpired`, `OSError`.
    """
    with prepared(how, program) as (argv, passed, witness):
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=program.starter_variables,
            pass_fds=passed,
            process_group=0,
        )
        try:
            output, errors = process.communicate(data, seconds)
        finally:
            # Without namespaces it is the starter that ends all that is left. bubblewrap's child
            # asks for its death signal late, and leaves the group after that: one of the two
            # reaches it at any moment, and the namespace ends with it.
            with process:
                kill_group(process)
            if witness is not None:
                witness.end()
                (seen if seen is not None else []).extend(witness.attempts)
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


@functools.cache
def find() -> Confinement:
    """The strictest that works here, tried with all that will be done.

    Without bubblewrap there are no namespaces. Raises `NoMeans`.
    """
    return _find()


def _find() -> Confinement:
    uid, filtered = other_uid(), seccomp.machine() is not None
    tried: list[str] = []
    for means in Means:
        landlock = launch.landlock_version() if means is Means.BARE else 0
        if means is Means.BARE and not (filtered and (landlock or uid is not None)):
            tried.append("no Landlock, and only root can become another user")
            break
        if means is Means.HOST_PROC and uid is not None:
            continue  # builds of the same uid could open each other's descriptors there
        if means is not Means.BARE and shutil.which("bwrap") is None:
            tried.append(f"{means.value}: bubblewrap is not installed")
            continue
        for asked in (True, False) if filtered else (False,):
            how = Confinement(means, uid, filtered, asked, landlock)
            complaint = _complaint(how)
            if not complaint:
                return how
            tried.append(f"{how}: {complaint}")
    raise NoMeans("\n".join(tried))


def _complaint(how: Confinement) -> str:
    """What goes wrong when a program is confined so; empty where it works."""
    with tempfile.TemporaryDirectory(prefix="confine-") as name:
        place = Path(name)
        give(place)
        # Its own uid and its tree are there, and nothing else can be written.
        script = "set -e; echo well >made; ! (echo >/usr/made) 2>/dev/null; cat made"
        program = Program(("sh", "-c", script), place, (place,), limits={"RLIMIT_CORE": 0})
        seen: list[str] = []
        try:
            done = run(how, program, _TRY_SECONDS, seen=seen)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        if done.stdout == b"well\n" and done.returncode == 0:
            return "its attempts are not seen" if how.asked and not seen else ""
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return (words or [f"exit status {done.returncode}"])[-1]
