# SPDX-License-Identifier: MIT
"""What of the host one QEMU is given: open files, and the names by which it knows them.

Whoever QEMU runs as need not be able to reach a path, and can reach no other file.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from harness.errors import UserError
from harness.machine import qcow2, sealed


class Given:
    """Descriptors for one QEMU, to be inherited by it, and closed here at the end."""

    def __init__(self, uid: int | None) -> None:
        """`uid` is the one that QEMU gets; None: ours."""
        self._uid = uid
        self._stack = contextlib.ExitStack()
        self._sets = 0
        self.descriptors: list[int] = []
        self.arguments: list[str] = []
        """QEMU's arguments that announce descriptors to it."""

    def close(self) -> None:
        """Closes our copies; QEMU has its own."""
        self._stack.close()

    def add(self, descriptor: int) -> int:
        """Takes over an open descriptor. Returns it."""
        self._stack.callback(os.close, descriptor)
        self.descriptors.append(descriptor)
        return descriptor

    def file(self, path: Path) -> str:
        """A name for a file that QEMU reads, and opens itself. Raises `UserError`."""
        descriptor = self._open(path, os.O_RDONLY)
        if self._uid is None or os.fstat(descriptor).st_mode & stat.S_IROTH:
            return _name(self.add(descriptor))
        with os.fdopen(descriptor, "rb") as file:
            return _name(self.add(sealed.sealed_bytes(file.read())))

    def shared_ram(self, path: Path, size: int) -> str:
        """A name for a new file of `size` bytes that is the guest's RAM, and stays."""
        descriptor = self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.truncate(descriptor, size)
        if self._uid is not None:
            os.chown(descriptor, self._uid, -1)
        return _name(self.add(descriptor))

    def private_ram(self, path: Path, only_read: bool) -> str:
        """A name for a file of RAM that QEMU maps privately, and cannot write.

        `only_read`: it opens the file for reading only. Else it gets a copy in memory which is
        sealed: it could open the file itself for writing.
        """
        if only_read:
            return self.file(path)
        try:
            return _name(self.add(sealed.sealed(path)))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error

    def disk(self, path: Path, writable: bool = False) -> str:
        """A name for an image file, for the block layer."""
        reading = self._open(path, os.O_RDONLY)
        return self._announce(reading, *([self._open(path, os.O_RDWR)] if writable else []))

    def fresh_overlay(self, size: int) -> str:
        """A name for an empty overlay in a file that has no name on the host, for a disk of `size`
        bytes.
        """
        with tempfile.TemporaryFile(prefix="harness-") as file:
            file.write(qcow2.empty(size))
            file.flush()
            reading = os.open(_name(file.fileno()), os.O_RDONLY | os.O_CLOEXEC)
            return self._announce(reading, os.dup(file.fileno()))

    def _announce(self, *descriptors: int) -> str:
        """A name for one file, from which QEMU takes the descriptor with the right it needs."""
        self._sets += 1
        for descriptor in descriptors:
            self.arguments += ["-add-fd", f"fd={self.add(descriptor)},set={self._sets}"]
        return f"/dev/fdset/{self._sets}"

    def _open(self, path: Path, flags: int) -> int:
        try:
            return os.open(path, flags | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"cannot open {path}: {error.strerror}") from error


def _name(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
