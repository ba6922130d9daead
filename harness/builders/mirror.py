# SPDX-License-Identifier: MIT
"""A copy of a built tree that an untrusted build may change, and that is restored file by file.

Whether a file was changed is seen by its inode number and its change time, which no program can set
at will. So nothing needs to be known of the program that had the copy: not what it was told to
change, nor whether it ended as it should.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.errors import BuildError
from harness.host import confine
from harness.host.files import write_text

EntryState = tuple[int, int, int]
"""``st_mode``, inode, change time in ns; of a directory the mode only: its entries speak for
themselves."""


class Mirror:
    """A copy at `place` of the tree `origin`, which does not change; its state is kept in the file
    `record`, which must be out of reach of those who have the copy.
    """

    def __init__(self, origin: Path, place: Path, record: Path) -> None:
        self.origin = origin
        self.place = place
        self._record = record
        self._clean = record.with_suffix(".clean")

    def prepare(self, run: Callable[[Sequence[str | Path]], None]) -> bool:
        """Restores the copy, or makes it where it is missing: then True. `run` runs a program."""
        known = self._known() is not None
        if known and self.place.is_dir() and not self.place.is_symlink():
            self.restore()
            return False
        self.forget()
        remove(self.place)
        run(["cp", "-a", "--reflink=auto", self.origin, self.place])
        confine.give_tree(self.place)
        self._write({path: _state(entry) for path, entry in _walk(self.place)})
        return True

    def forget(self) -> None:
        """The copy is of no use any more: the origin is another."""
        self.lend()
        self._record.unlink(missing_ok=True)

    def lend(self) -> None:
        """To be called before somebody may change the copy."""
        self._clean.unlink(missing_ok=True)

    def restore(self) -> list[str]:
        """Restores the copy if it was lent; returns the paths that had been changed.

        Where the record is gone or damaged nothing is done: `prepare` makes the copy anew.
        """
        known = self._known()
        if known is None:
            self.forget()
            return []
        if self._clean.exists():
            return []
        seen: set[str] = set()
        spoilt: set[str] = set()
        for path, entry in _walk(self.place):
            seen.add(path)
            if known.get(path) != _state(entry):
                spoilt.add(path)
                if path not in known or not _both_directories(known[path], entry):
                    remove(self.place / path)
        lost = {path for path in known if path not in seen} | (spoilt & known.keys())
        for path in sorted(lost):
            known[path] = self._copy(path)
        self._write(known)
        return sorted(spoilt | lost)

    def _known(self) -> dict[str, EntryState] | None:
        """The record; None where it is not there, or cannot be read."""
        try:
            content = json.loads(self._record.read_text())
            return {
                str(path): (int(mode), int(inode), int(changed))
                for path, (mode, inode, changed) in content.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def _copy(self, path: str) -> EntryState:
        origin, place = self.origin / path, self.place / path
        if origin.is_dir() and not origin.is_symlink():
            place.mkdir(exist_ok=True)
            shutil.copymode(origin, place)
        else:
            shutil.copy2(origin, place, follow_symlinks=False)
        confine.give(place)
        info = place.lstat()
        return _state_of(info.st_mode, info.st_ino, info.st_ctime_ns)

    def _write(self, known: dict[str, EntryState]) -> None:
        write_text(self._record, json.dumps(known))
        self._clean.touch()


def plain_file(root: Path, path: str) -> Path:
    """The file `path` below `root`, which somebody could change who is not trusted.

    Raises `BuildError` for what is no plain file there: a link may lead anywhere on this host.
    """
    place = root / path
    if not place.is_file() or place.resolve() != root.resolve() / path:
        raise BuildError(f"{path} was not made, or is no plain file below {root}")
    return place


def take(root: Path, path: str, to: Path) -> Path:
    """Copies the plain file `path` below `root` into the directory `to`, its bytes and nothing
    else: no mode, no owner. Raises `BuildError`.
    """
    place = plain_file(root, path)
    taken = Path(shutil.copyfile(place, to / place.name))
    # Confined tools read it as another user, whatever our umask is.
    taken.chmod(0o644)
    return taken


def below(root: Path, text: str) -> Path | None:
    """What a program that is not trusted calls `text`, where that is below `root`; else None."""
    try:
        place = (root / text).resolve()
        return place if place.is_relative_to(root.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def remove(path: Path) -> None:
    """Removes whatever is there, following no link."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        for entry in list(os.scandir(path)):
            remove(Path(entry.path))
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All entries below `root`, directories before what is in them; no link is followed."""
    todo = [(str(root), "")]
    while todo:
        directory, prefix = todo.pop()
        for entry in _entries(directory):
            path = prefix + entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            yield path, entry
            # It may have been removed just now.
            if is_directory and os.path.lexists(entry.path):
                todo.append((entry.path, f"{path}/"))


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(directory))
    except PermissionError:
        Path(directory).chmod(0o700)
        return list(os.scandir(directory))


def _both_directories(known: EntryState, entry: os.DirEntry[str]) -> bool:
    return stat.S_ISDIR(known[0]) and entry.is_dir(follow_symlinks=False)


def _state(entry: os.DirEntry[str]) -> EntryState:
    info = entry.stat(follow_symlinks=False)
    return _state_of(info.st_mode, info.st_ino, info.st_ctime_ns)


def _state_of(mode: int, inode: int, changed: int) -> EntryState:
    return (mode, 0, 0) if stat.S_ISDIR(mode) else (mode, inode, changed)
