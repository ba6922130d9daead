# SPDX-License-Identifier: MIT
"""Copies of files in memory that nobody can change any more, by whatever descriptor.

For a QEMU that opens its RAM's file for writing although it only maps it privately: the file that
it gets is one that it cannot write (memfd_create(2), F_SEAL_WRITE in fcntl(2)).
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import os
import threading
from pathlib import Path

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
KEPT = 4
"""So many copies are kept by a process: tests of one file clone few templates."""
_kept: collections.OrderedDict[tuple[int, int, int], int] = collections.OrderedDict()
_lock = threading.Lock()


def sealed(path: Path) -> int:
    """A new descriptor of the sealed copy of a file; holes stay holes. The caller closes it.

    The copy is made once for each state of the file. Raises `OSError`.
    """
    with _lock, path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if key not in _kept:
            _kept[key] = _copy(file.fileno(), status.st_size)
        _kept.move_to_end(key)
        descriptor = os.dup(_kept[key])
        while len(_kept) > KEPT:
            os.close(_kept.popitem(last=False)[1])
        return descriptor


def sealed_bytes(data: bytes) -> int:
    """A new descriptor of a sealed file with this content. The caller closes it."""
    copy = os.memfd_create("given", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, copy)
        view = memoryview(data)
        while view:
            view = view[os.write(copy, view) :]
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        stack.pop_all()
    return copy


def _copy(source: int, size: int) -> int:
    copy = os.memfd_create("ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, copy)
        os.truncate(copy, size)
        end = 0
        while (start := _data(source, end)) is not None:
            end = os.lseek(source, start, os.SEEK_HOLE)
            os.lseek(copy, start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(copy, source, start, end - start) or end - start
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        stack.pop_all()
    return copy


def _data(source: int, position: int) -> int | None:
    """Where there is data from `position` on; None where there is none any more."""
    try:
        return os.lseek(source, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
