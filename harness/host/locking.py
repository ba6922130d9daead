# SPDX-License-Identifier: MIT
"""Advisory locks that die with their process.

``flock`` and not ``filelock``: an entry of the cache needs shared locks (it is in use) beside the
exclusive one (it is being built or removed), and the kernel drops both when a process is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class FileLock:
    """An open lock file. Its text names the process that holds it exclusively."""

    def __init__(self, path: Path) -> None:
        """Opens, and creates where missing. Raises `OSError`."""
        self.path = path
        self.fd = self._open()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            # A cache on a read-only medium still serves what it has.
            if self.path.exists():
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            raise

    def shared(self, waiting: Callable[[str], None] | None = None) -> None:
        """Takes a shared lock; `waiting` is called once, with the holder, if it must wait."""
        self._take(fcntl.LOCK_SH, waiting)

    def exclusive(self, waiting: Callable[[str], None] | None = None) -> None:
        """Takes an exclusive lock. A shared one is given up before: look again afterwards."""
        self._take(fcntl.LOCK_EX, waiting)
        self._sign()

    def try_exclusive(self) -> bool:
        """Like `exclusive`, but False at once where somebody else holds the lock in any way."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not self._current():
            return False
        self._sign()
        return True

    def holder(self) -> str:
        """The process that last held it exclusively, as text."""
        with contextlib.suppress(OSError):
            text = os.pread(self.fd, 64, 0).decode(errors="replace").strip()
            if text:
                return f"process {text}"
        return "another process"

    def remove(self) -> None:
        """Unlinks the file. Only for the exclusive holder: others notice and open the new file."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the lock up, unless a child inherited it; then it lasts as long as the child."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _take(self, kind: int, waiting: Callable[[str], None] | None) -> None:
        while True:
            try:
                fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting(self.holder())
                    waiting = None
                fcntl.flock(self.fd, kind)
            if self._current():
                return
            # It was removed by its holder while we waited: lock the file that is there now. Where
            # its directory is gone too there is none, and the number must not be closed twice.
            self.close()
            self.fd = self._open()

    def _current(self) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _sign(self) -> None:
        # A full disk must not prevent locking: the name is for the message only.
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
