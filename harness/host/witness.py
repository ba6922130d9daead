# SPDX-License-Identifier: MIT
"""Answers for the kernel when a confined program would change a file or open a socket.

Nothing is kept from harm by this: the namespaces, the uid and the filters do that, and a program
with two threads can show us one path and the kernel another. But what is tried in plain is told,
whether or not it succeeds, and whether or not the program says anything of it. Source of the
format: seccomp_unotify(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

from harness.host import seccomp

_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_REQUEST = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_CONTINUE = 1
_AT_FDCWD = -100
_MOST = 20
"""Attempts that are kept."""
_PATH_MAX = 4096
_LOOK_SECONDS = 0.2
_UNIX, _NETLINK = 1, 16
_DEVICES = {f"/dev/{name}" for name in ("null", "zero", "full", "tty", "random", "urandom")}
_OWN = ("/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/")
_STANDARD = {"/dev/stdin": "0", "/dev/stdout": "1", "/dev/stderr": "2"}
# These work on a link, not on what it leads to.
_LINKS = ("unlink", "rmdir", "rename", "mkdir", "symlink", "link", "mknod", "lchown", "lsetxattr")


class Witness(threading.Thread):
    """Answers until `end`. `attempts` are a line each, in the order in which they were seen."""

    def __init__(
        self,
        channel: socket.socket,
        writable: Sequence[Path],
        begin: str,
        uid: int | None = None,
    ) -> None:
        """The listener comes through `channel`, which is closed at the end. All is allowed until
        somebody opens the path `begin` to write: until then it is the sandbox that is made.
        With `uid`, this thread looks at others as that user: root in a container may look at its
        own processes only.
        """
        super().__init__(name="witness", daemon=True)
        self._channel = channel
        self._writable = tuple(os.path.realpath(path) for path in writable)
        self._begin = begin
        self._uid = uid
        self._ended = threading.Event()
        architecture = seccomp.machine()
        table = seccomp.numbers(architecture) if architecture else {}
        self._names = {number: name for name, number in table.items()}
        self.begun = not begin
        self.asked = 0
        """How often."""
        self.attempts: list[str] = []

    def end(self) -> None:
        """Stops it. Whoever is still waiting for an answer gets ENOSYS."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Answers."""
        if self._uid is not None:
            # Of this thread alone: setfsuid(2), and "PTRACE_MODE_FSCREDS" in ptrace(2).
            libc = ctypes.CDLL(None)
            libc.setfsgid(self._uid)
            libc.setfsuid(self._uid)
        with self._channel:
            listener = self._listener()
        if listener is None:
            return
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        try:
            while not self._ended.is_set():
                for _, event in poll.poll(_LOOK_SECONDS * 1000):
                    if event & select.POLLIN:
                        self._answer(listener)
                    elif event & (select.POLLHUP | select.POLLERR):
                        return
        finally:
            os.close(listener)

    def _listener(self) -> int | None:
        while not self._ended.is_set():
            if select.select([self._channel], [], [], _LOOK_SECONDS)[0]:
                data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
                return descriptors[0] if data and descriptors else None
        return None

    def _answer(self, listener: int) -> None:
        request = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError:
            return  # it was killed while it asked
        self.asked += 1
        cookie, pid, _, number, _, _, *arguments = _REQUEST.unpack(request)
        error, said = 0, ""
        with contextlib.suppress(OSError, ValueError):
            error, said = self._judge(pid, self._names.get(number, ""), arguments)
        with contextlib.suppress(OSError):
            if said:
                # Only if it was that process whose memory we have read.
                fcntl.ioctl(listener, _VALID, struct.pack("=Q", cookie))
                if said not in self.attempts and len(self.attempts) < _MOST:
                    self.attempts.append(said)
        with contextlib.suppress(OSError):
            flags = 0 if error else _CONTINUE
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(cookie, 0, -error, flags))

    def _judge(self, pid: int, name: str, arguments: Sequence[int]) -> tuple[int, str]:
        """The error that the call ends with, 0 for none, and what is to be said of it."""
        if name == "socket":
            if not self.begun:
                return 0, ""
            quiet = arguments[0] & 0xFFFFFFFF in (_UNIX, _NETLINK)
            return errno.EACCES, "" if quiet else "it tried to reach the network"
        said = ""
        for directory, at in seccomp.PATHS[name]:
            given = _text(pid, arguments[at])
            if not self.begun:
                self.begun = given == self._begin
                return 0, ""
            base = _AT_FDCWD if directory is None else _signed(arguments[directory])
            path = _resolve(pid, base, given, name.startswith(_LINKS))
            error, what = self._mode(name, arguments)
            if error:
                return error, f"it tried to make {what}: {_shown(path)}"
            if not self._allowed(name, path):
                said = said or f"it tried to write outside its tree: {_shown(path)}"
        return 0, said

    def _mode(self, name: str, arguments: Sequence[int]) -> tuple[int, str]:
        if name not in seccomp.MODES:
            return 0, ""
        mode = arguments[seccomp.MODES[name]]
        if name in seccomp.FLAGS and not arguments[seccomp.FLAGS[name]] & seccomp.MAKING:
            return 0, ""
        if mode & seccomp.SET_ID:
            return errno.EPERM, "a set-uid file"
        if name in seccomp.MAKE_NODE and mode & seccomp.DEVICE:
            return errno.EPERM, "a device node"
        return 0, ""

    def _allowed(self, name: str, path: str) -> bool:
        if any(path == place or path.startswith(f"{place}/") for place in self._writable):
            return True
        if name.startswith("mkdir") and any(p.startswith(f"{path}/") for p in self._writable):
            return True  # mkdir -p on the way to the tree
        if not path.startswith("/"):
            return True  # pipe:[…], or one that is gone
        return path in _DEVICES or path.startswith("/dev/pts/")


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


def _shown(path: str) -> str:
    return ascii(path)[1:-1][:200]


def _text(pid: int, address: int) -> str:
    """The string at an address of a process. Raises `OSError`."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fsdecode(os.pread(memory, _PATH_MAX, address).partition(b"\0")[0])
    finally:
        os.close(memory)


def _resolve(pid: int, directory: int, path: str, is_link: bool) -> str:
    """Where a path of a process leads. The tree has the same place inside and outside."""
    path = _STANDARD.get(path, path)
    if path in _STANDARD.values():
        path = f"/proc/self/fd/{path}"
    for prefix in _OWN:
        if path.startswith(prefix) and path[len(prefix) :].isdigit():
            return _readlink(f"/proc/{pid}/fd/{path[len(prefix) :]}")
    if not path.startswith("/"):
        place = "cwd" if directory == _AT_FDCWD else f"fd/{directory}"
        path = f"{_readlink(f'/proc/{pid}/{place}')}/{path}"
    if is_link:
        parent, _, name = path.rstrip("/").rpartition("/")
        if name not in ("", ".", ".."):
            return f"{os.path.realpath(parent or '/').rstrip('/')}/{name}"
    return os.path.realpath(path)


def _readlink(path: str) -> str:
    return os.readlink(path)  # noqa: PTH115 (pipe:[…] is no path)
