# SPDX-License-Identifier: MIT
"""Files that are there whole or not at all, whatever ends the process or the host meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes `path`, its directory made where missing."""
    write_texts(path.parent, {path.name: text})


def write_texts(directory: Path, texts: Mapping[str, str]) -> None:
    """Writes several files of one directory; none is touched before all are on the disk.

    What cannot be encoded is written as ``\\x80``. Raises `OSError`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        ready = []
        for name, text in texts.items():
            # The process in the name: two runs that share a directory each write their own.
            new = directory / f".{name}.{os.getpid()}.new"
            stack.callback(new.unlink, missing_ok=True)
            new.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
            sync(new)
            ready.append((new, directory / name))
        for new, path in ready:
            new.replace(path)


def sync(path: Path) -> None:
    """Waits until a file, or a directory's list of names, is on the disk.

    Without it a rename can outlive what was renamed: after a power cut the file is there, and
    empty. Raises `OSError` where the disk is full or broken.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
