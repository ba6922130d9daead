# SPDX-License-Identifier: MIT
"""The QEMU process: it dies with its parent, whatever kills the parent, and is ended in steps."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import struct
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from harness.host import programs
from harness.machine import confine
from harness.machine.errors import MachineError

SESSION = uuid.uuid4().hex[:12]
"""Marks every QEMU of this process, for the leak check."""
MARK = "HARNESS_SESSION"
_KILLED = 5.0
"""Seconds until what was killed is gone; a large machine's memory takes a while."""
_CREDENTIALS = struct.Struct("=iII")
"""``struct ucred``: pid, uid, gid."""

# PR_SET_PDEATHSIG acts when the *thread* that forked ends, so all forks come from one that lasts.
_launchers: dict[int, concurrent.futures.ThreadPoolExecutor] = {}


def _launcher() -> concurrent.futures.ThreadPoolExecutor:
    """This process's launching thread; a forked child has none of its parent's."""
    pid = os.getpid()
    if pid not in _launchers:
        _launchers[pid] = concurrent.futures.ThreadPoolExecutor(1, "machine-launcher")
    return _launchers[pid]


_GATE = 'echo >&0 && read -r go && exec "$@" </dev/null'
"""Says that it is there, and becomes QEMU when it is told to go; it ends where nobody does."""


class Process:
    """A started QEMU. `pid` is its process once it was released: with namespaces the one that was
    started is bubblewrap, which ends with QEMU, and QEMU with it.
    """

    def __init__(
        self, started: subprocess.Popen[bytes], wrapped: bool, gate: socket.socket | None = None
    ) -> None:
        self._started = started
        self._wrapped = wrapped
        self._gate = gate
        self.pid = started.pid

    def release(self, timeout: float) -> None:
        """Lets it become QEMU. Raises `MachineError` where it is not there within so many seconds.

        Its death signal is armed when it says that it is there. If its parent lives after that,
        the parent's death will be signalled; if we do not, nobody tells it to go.
        """
        assert self._gate is not None
        with self._gate as gate:
            self.pid = sender(gate, timeout)
            if self._started.poll() is not None:
                raise MachineError("bubblewrap has ended")
            gate.sendall(b"go\n")

    def wait(self, timeout: float | None = None) -> int:
        """QEMU's exit status; negative for the signal that killed it."""
        status = self._started.wait(timeout)
        return 128 - status if self._wrapped and status > 128 else status

    def end(self, grace: float) -> int:
        """Ends QEMU: SIGTERM, then, after `grace` seconds, SIGKILL, also for its group; 0: this at
        once. Returns its status.
        """
        if grace and self._started.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(grace)
        if self._started.poll() is None:
            # Not reaped yet, so the numbers are still their own. Who waits for QEMU, as bubblewrap
            # does, ends when it is gone; if that waits for nothing, it is killed too.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(_KILLED)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._started.pid, signal.SIGKILL)
        return self.wait()


def spawn(argv: list[str], pass_fds: Sequence[int], stderr: int, network: bool) -> Process:
    """Starts what becomes QEMU when it is released, confined, in a process group of its own, to be
    killed by the kernel when we die. Raises `UserError` where a program is not there.
    """
    programs.require(argv[0], "setpriv")
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    command = confine.command(argv, network, ["sh", "-c", _GATE, "gate"])

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=stderr,
            stderr=stderr,
            pass_fds=pass_fds,
            process_group=0,
            env=confine.environment({MARK: SESSION}),
        )

    try:
        started = _launcher().submit(start).result()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Process(started, confine.means() is confine.Means.NAMESPACES, ours)


def sender(peer: socket.socket, timeout: float) -> int:
    """Reads a byte from `peer`, for which SO_PASSCRED is set, and returns the process that wrote
    it: the kernel says it (unix(7)), in numbers of our own process space.

    Raises `MachineError` where nothing is written within `timeout` seconds.
    """
    peer.settimeout(timeout)
    try:
        _, ancillary, _, _ = peer.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    except OSError as error:
        raise MachineError(f"nothing came within {timeout} s: {error}") from error
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid: int = _CREDENTIALS.unpack(data)[0]
            if pid:
                return pid
    raise MachineError("its end was closed")


def leaked(session: str = SESSION) -> list[str]:
    """Processes of `session` that still run, as ``PID COMMAND``; read from ``/proc``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if f"{MARK}={session}".encode() in environment:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if command:
                    found.append(f"{entry.name} {command[:200]}")
        except OSError:
            continue  # it ended in between, or is not ours to read
    return found


def end_left(session: str = SESSION) -> None:
    """Ends what still runs of `session`, at once."""
    for line in leaked(session):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
