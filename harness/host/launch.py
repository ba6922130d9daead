# SPDX-License-Identifier: MIT
"""Makes itself small, then becomes the command: the first step of a confined program.

Run in a Python of its own (see `STARTER`) with PLAN COMMAND…, so it imports nothing of this
project, and little else: each build starts it a dozen times. PLAN is hexadecimal `marshal`, made by
`harness.host.confine.prepared`. What it does: niceness, limits, control
group; the filter that asks (its listener is sent through a socket); and, where there are no
namespaces, what takes none: another uid, Landlock, the filter that refuses, and ending all that the
command leaves. Sources: seccomp(2), landlock(7), PR_SET_CHILD_SUBREAPER in prctl(2).
"""

# ruff: noqa: PTH110, PTH112, PTH123, PTH208, SIM105
# (pathlib and contextlib take longer to import than all the rest)
from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import ctypes
import errno
import marshal
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

STARTER = "import sys; sys.path.append(sys.argv.pop(1)); import launch; launch.start()"
"""For ``python -I -S -c``, with the directory of this file as the first argument."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ = 0b1101  # execute, read file, read directory
_OF_FILES = 0b1100_0000_0000_0111  # execute, write, read, truncate, ioctl
# Rights of the file system, the network and the scope, by the version that brought them.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: Any) -> int:
    """A system call. Raises `OSError`."""
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def filter_calls(code: bytes, listen: bool = False) -> int:
    """Lays a filter on this process; with `listen`, returns the listener's descriptor."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    number = _SECCOMP[os.uname().machine]
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER) if listen else (0,):
        try:
            return _call(number, _SET_MODE_FILTER, flags, program)
        except OSError as error:
            # Before 5.19 there is no waiting killably.
            if error.errno != errno.EINVAL or flags in (0, _NEW_LISTENER):
                raise
    raise AssertionError


def landlock_version() -> int:
    """Version of the kernel's Landlock; 0 where it has none."""
    try:
        return _call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    except OSError:
        return 0


def restrict(readable: list[str], writable: list[str]) -> None:
    """From now on only these places can be opened (landlock(7)), as far as this kernel can say."""
    version = landlock_version()
    rights = (1 << max(n for since, n in _FILE_RIGHTS.items() if since <= version)) - 1
    attributes = [rights]
    if version >= 4:
        attributes.append(0b11)  # no TCP
    if version >= 6:
        attributes.append(0b11)  # no signals and no abstract sockets to those outside
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    rules = _call(_LANDLOCK_CREATE, packed, ctypes.c_size_t(len(packed)), 0)
    for paths, wanted in ((readable, _READ), (writable, rights)):
        for path in paths:
            if not os.path.exists(path):
                continue
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = wanted & rights & (-1 if os.path.isdir(path) else _OF_FILES)
            _call(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    _call(_LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def _limit(plan: dict[str, Any]) -> None:
    if plan["group"]:
        with open(plan["group"], "w") as file:
            file.write(str(os.getpid()))
    if plan["nice"]:
        os.nice(plan["nice"])
    for name, value in plan["limits"].items():
        limit = getattr(resource, name)
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _close_to_new_rights(plan: dict[str, Any]) -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if plan["ask"]:
        listener = filter_calls(plan["ask"], listen=True)
        channel = socket.socket(fileno=plan["speak"])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))
        channel.sendmsg([b"L"], [rights])
        channel.close()
        os.close(listener)


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Runs the command in place of this process. Raises `OSError`.

    Not as `os.execvpe` does it, which imports more when it is called; then no module can be read.
    """
    name = command[0]
    places = environment.get("PATH", os.defpath).split(":") if "/" not in name else [""]
    for place in places:
        try:
            os.execve(f"{place}/{name}" if place else name, command, environment)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found += map(int, file.read().split())
    return found


def _end_all() -> None:
    """Kills what is below this process, and what comes to it then, until nothing is left."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)  # ours to reap, so it cannot be gone
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _terminated(_number: int, _frame: object) -> None:
    _end_all()
    os._exit(128 + signal.SIGTERM)


def _bare(plan: dict[str, Any], command: list[str]) -> int:
    """Runs the command as a child that is confined without namespaces; its exit status."""
    bare = plan["bare"]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, _terminated)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        if bare["uid"] is not None:
            os.setgroups([])
            os.setresgid(bare["uid"], bare["uid"], bare["uid"])
            os.setresuid(bare["uid"], bare["uid"], bare["uid"])
        # A change of uid takes the death signal back.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(bare["cwd"])
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if bare["landlock"]:
            restrict(bare["readable"], bare["writable"])
        _close_to_new_rights(plan)
        if bare["filter"]:
            filter_calls(bare["filter"])
        _become(command, bare["environment"])
    if plan["ask"]:
        os.close(plan["speak"])
    _, status = os.waitpid(child, 0)
    _end_all()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(argv: list[str]) -> int:
    """See the module's text."""
    plan, command = marshal.loads(bytes.fromhex(argv[0])), argv[1:]
    _limit(plan)
    try:
        if plan["bare"]:
            return _bare(plan, command)
        _close_to_new_rights(plan)
        _become(command, dict(os.environ))
    except OSError as error:
        print(f"launch: {command[0]}: {error}", file=sys.stderr)
        return 127 if error.errno == errno.ENOENT else 126


def start() -> None:
    """What `STARTER` calls."""
    sys.exit(main(sys.argv[1:]))
