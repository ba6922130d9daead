# SPDX-License-Identifier: MIT
"""Whether files are still what they were when they were made.

A directory is sealed with a record of each file's size, modification time and digest. A look at
size and time is cheap, and finds what was cut or written over; the digests find everything, and
are asked before anybody else is blamed for what these files did.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

from harness.host.files import sync, write_text

SEAL = "digests.json"
"""The record, in the directory itself: path -> size, modification time in ns, digest; and its sum.
"""
PAGE = 4096
MANY = 500
"""Files that are synced one by one."""
SPARSE_BYTES = 1 << 20
"""Smaller files are read whole: some file systems keep them in no block at all."""
_SPARSE = "pages-"
"""Before the digest of a file with holes: that of its pages that are not zero."""

Record = dict[str, tuple[int, int, str]]


def digest(path: Path) -> str:
    """SHA-256 of a file, as hex; of a file with holes without its zero pages, which is as good and
    reads only what is there. Raises `OSError`.
    """
    info = path.stat()
    with path.open("rb", buffering=0) as file:
        if info.st_size >= SPARSE_BYTES and info.st_blocks * 512 < info.st_size:
            return _SPARSE + _digest_of_pages(file, info.st_size)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_pages(file: IO[bytes], size: int) -> str:
    found, zero = hashlib.sha256(str(size).encode()), bytes(PAGE)
    for start, end in _extents(file.fileno(), size):
        file.seek(start)
        while start < end:
            data = file.read(min(end - start, 256 * PAGE))
            if not data:
                break
            for at in range(0, len(data), PAGE):
                page = data[at : at + PAGE]
                if page != zero[: len(page)]:
                    found.update((start + at).to_bytes(8, "big") + page)
            start += len(data)
    return found.hexdigest()


def _extents(number: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of a file that hold data, page by page: start and end, exclusive (lseek(2))."""
    at = 0
    while at < size:
        try:
            start = os.lseek(number, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # no data behind `at`
            raise
        end = os.lseek(number, start, os.SEEK_HOLE)
        yield start - start % PAGE, end
        at = end


def same(path: Path, known: str) -> bool:
    """Whether a file has the digest `known`; False where it cannot be read."""
    try:
        if known.startswith(_SPARSE):
            with path.open("rb", buffering=0) as file:
                return _SPARSE + _digest_of_pages(file, path.stat().st_size) == known
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == known
    except OSError:
        return False


def record(directory: Path, paths: Iterable[Path]) -> Record:
    """What is known of some plain files below `directory`. Raises `OSError`."""
    found: Record = {}
    for path in paths:
        info = path.lstat()
        if stat.S_ISREG(info.st_mode):
            name = str(path.relative_to(directory))
            found[name] = (info.st_size, info.st_mtime_ns, digest(path))
    return found


def files_below(directory: Path) -> Iterator[Path]:
    """All files below a directory, the record left out; no link is followed."""
    for place, _, names in os.walk(directory):
        for name in sorted(names):
            path = Path(place, name)
            if path.parent != directory or name != SEAL:
                yield path


def seal(directory: Path) -> None:
    """Writes the record of all files below `directory`, when they are on the disk.

    Raises `OSError`.
    """
    found = record(directory, files_below(directory))
    flush(directory, found)
    write_text(directory / SEAL, json.dumps([found, _sum(json.dumps(found))]))
    sync(directory)


def flush(directory: Path, names: Collection[str]) -> None:
    """Waits until these files are on the disk. Raises `OSError`."""
    if len(names) > MANY:
        os.sync()  # one by one that would take minutes
        return
    for name in names:
        sync(directory / name)


def read_seal(directory: Path) -> Record | None:
    """The record; None where there is none, or one that was damaged itself."""
    try:
        content = json.loads((directory / SEAL).read_text())
        if isinstance(content, list):  # the record of an older cache has no sum
            content, known = content
            if _sum(json.dumps(content)) != known:
                return None
        return parse(content)
    except (OSError, ValueError):
        return None


def _sum(text: str) -> str:
    """What tells a record from one of which a bit was changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(content: object) -> Record:
    """A record from JSON. Raises `ValueError` for what is none."""
    if not isinstance(content, dict):
        raise ValueError("a record is an object")
    try:
        return {str(name): (int(s), int(t), str(d)) for name, (s, t, d) in content.items()}
    except TypeError as error:
        raise ValueError(str(error)) from error


def damage(directory: Path, known: Record, wholly: bool = False) -> list[str]:
    """The files that are not what they were; `wholly`: by their contents, whatever their times.

    A time that differs is no damage by itself (a cache may have been copied): the content decides.
    """
    found = []
    for name, (size, changed, known_digest) in known.items():
        path = directory / name
        try:
            info = path.lstat()
        except OSError:
            found.append(name)
            continue
        if (
            not stat.S_ISREG(info.st_mode)
            or info.st_size != size
            or ((wholly or info.st_mtime_ns != changed) and not same(path, known_digest))
        ):
            found.append(name)
    return found
