# SPDX-License-Identifier: MIT
"""Directories and files that a user names for results: what is there and not ours stays as it is.

A directory that we made, or found empty, gets the file `MARKER`. Whoever writes there holds a lock
on it, so that two runs never share one. What an earlier run left there is moved, not removed.
"""

from __future__ import annotations

import datetime
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.errors import HarnessError, UserError
from harness.host.files import write_text
from harness.host.locking import FileLock
from harness.host.project import ARTIFACTS
from harness.plaintext import line

MARKER = ".harness-output"
EARLIER = "earlier"
"""Where what earlier runs left is moved, a directory for each."""
KEPT = 10
"""How many of those are kept."""

# Locks of this process; they are held until it ends.
_CLAIMS: dict[Path, FileLock] = {}


def claim(directory: Path, *, shared: bool = False) -> None:
    """Makes a directory ours for as long as this process lives; made where it is missing.

    Several processes may have a `shared` one. Raises `UserError` for one that holds something and
    was not made by us, one that another process writes to, and one that cannot be written.
    """
    place = directory.absolute()
    if place in _CLAIMS and is_ours(place):
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
        known = is_ours(place) or _is_below_artifacts(place)
        if not known and any(place.iterdir()):
            raise UserError(
                f"{directory} holds files that are not this harness's: name a new directory, or an"
                " empty one"
            )
        lock = FileLock(place / MARKER)
    except OSError as error:
        raise UserError(f"cannot write to the directory {directory}: {error.strerror}") from error
    if shared:
        lock.shared()
    elif not lock.try_exclusive():
        holder = lock.holder()
        lock.close()
        raise UserError(f"{directory} is in use by {holder}: wait for it, or name another one")
    _CLAIMS[place] = lock


def is_ours(directory: Path) -> bool:
    """Whether we made it, or found it empty."""
    return (directory / MARKER).is_file()


def set_aside(directory: Path, names: Sequence[str], remove: Sequence[str] = ()) -> Path | None:
    """Moves what an earlier run left in a claimed directory out of the way; where to.

    `names` are patterns of what such a run leaves there, `remove` of what is not worth keeping.
    Anything else stays where it is. Raises `HarnessError` where it cannot be moved.
    """
    assert is_ours(directory), "it must be claimed"
    try:
        for pattern in remove:
            for path in directory.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        own = {directory / MARKER, directory / EARLIER}
        found = sorted({path for pattern in names for path in directory.glob(pattern)} - own)
        if not found:
            return None
        to = _new(directory / EARLIER)
        for path in found:
            path.rename(to / path.name)
        for old in _earlier(directory)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise HarnessError(f"cannot move earlier results out of {directory}: {error}") from error
    return to


def prune(places: Iterable[Path], seconds: float, now: float) -> list[Path]:
    """Removes those of the directories that are ours and were last written so many seconds before
    `now` (since the epoch); which those were. Those that a process writes to are left.
    """
    removed = []
    for place in places:
        marker = place / MARKER
        if not marker.is_file() or place.is_symlink() or now - _last_written(place) < seconds:
            continue
        with FileLock(marker) as lock:
            if lock.try_exclusive():
                shutil.rmtree(place, ignore_errors=True)
                removed.append(place)
    return removed


def own(directory: Path) -> Path:
    """A directory of ours, as it is: `directory`, or one beside it where that one is not ours.

    All processes of a run get the same one.
    """
    return _marked(_first(directory, lambda place: is_ours(place) or _is_below_artifacts(place)))


def fresh(directory: Path) -> Path:
    """An empty directory of ours: `directory`, or one beside it where that one is not ours."""
    place = _first(directory, is_ours)
    if is_ours(place):
        shutil.rmtree(place, ignore_errors=True)
    return _marked(place)


def _first(directory: Path, known: Callable[[Path], bool]) -> Path:
    """`directory`, or the next name that is free or `known`."""
    place, number = directory, 1
    while place.exists() and not known(place) and (not place.is_dir() or any(place.iterdir())):
        number += 1
        place = directory.with_name(f"{directory.name}-{number}")
    return place


def _marked(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / MARKER).touch()
    return place


def _is_below_artifacts(place: Path) -> bool:
    return place.absolute().is_relative_to(ARTIFACTS)


def save(path: Path, text: str, heads: Sequence[str]) -> None:
    """Writes a file that the user named, whole or not at all.

    `heads` are the beginnings by which its format is known: a file that is there and has none of
    them is somebody's, and refused with a `UserError`, as is what cannot be written. What is no
    file (``/dev/stdout``, a pipe) is written to, and never replaced.
    """
    check_file(path, heads)
    # What a link leads to is replaced, not the link.
    place = path.resolve()
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8", errors="backslashreplace")
        else:
            write_text(place, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def check_file(path: Path, heads: Sequence[str]) -> None:
    """Raises `UserError` where `save` would not replace what is there, or cannot write it."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a directory: name a file")
        if path.is_fifo():
            # Without a reader the write would wait for ever.
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        if not path.is_file():
            return
        with path.open("rb") as file:
            there = file.read(64).decode("utf-8", "replace").lstrip().lower()
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise UserError(f"nobody reads from the pipe {path}: start its reader first") from None
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    if there and not there.startswith(tuple(head.lower() for head in heads)):
        known = line(" or ".join(heads))
        raise UserError(
            f"{path} is there, and does not begin with {known}, so it is no result of this harness:"
            " name a new file"
        )


def _new(parent: Path) -> Path:
    parent.mkdir(exist_ok=True)
    name = datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    number = 1
    while True:
        place = parent / (name if number == 1 else f"{name}.{number}")
        try:
            place.mkdir()
        except FileExistsError:
            number += 1
        else:
            return place


def _earlier(directory: Path) -> list[Path]:
    """The oldest first; a directory is written once, when its files are moved there."""
    found = (path for path in (directory / EARLIER).iterdir() if path.is_dir())
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _last_written(place: Path) -> float:
    """Seconds since the epoch; of the directories below it, for files may keep other times."""
    return max(
        path.stat().st_mtime for path in (place, *(p for p in place.rglob("*") if p.is_dir()))
    )
