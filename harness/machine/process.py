# SPDX-License-Identifier: MIT
"""The QEMU process: it dies with its parent, whatever kills the parent, and is ended in steps."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import uuid
from pathlib import Path

from harness.host import programs

SESSION = uuid.uuid4().hex[:12]
"""Marks every QEMU of this process, for the leak check."""
MARK = "HARNESS_SESSION"

# PR_SET_PDEATHSIG acts when the *thread* that forked ends, so all forks come from one that lasts.
_launchers: dict[int, concurrent.futures.ThreadPoolExecutor] = {}


def _launcher() -> concurrent.futures.ThreadPoolExecutor:
    """This process's launching thread; a forked child has none of its parent's."""
    pid = os.getpid()
    if pid not in _launchers:
        _launchers[pid] = concurrent.futures.ThreadPoolExecutor(1, "machine-launcher")
    return _launchers[pid]


def spawn(argv: list[str], pass_fds: tuple[int, ...], stderr: int) -> subprocess.Popen[bytes]:
    """Starts `argv` in a process group of its own, to be killed by the kernel when we die.

    ``setpriv`` sets the death signal before the program starts; the shell between them ends at
    once if we died before that. Raises `UserError` where the program is not there.
    """
    programs.require(argv[0], "setpriv")
    guard = ["setpriv", "--pdeathsig", "KILL", "sh", "-c"]
    guard += ['[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]
    return (
        _launcher()
        .submit(
            subprocess.Popen,
            guard + argv,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            pass_fds=pass_fds,
            process_group=0,
            env={**os.environ, MARK: SESSION},
        )
        .result()
    )


def end(process: subprocess.Popen[bytes], grace: float = 1.0) -> int:
    """Ends a process and its group: SIGTERM, then SIGKILL. Returns its status."""
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            # Not reaped yet, so the number is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


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
