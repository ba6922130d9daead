# SPDX-License-Identifier: MIT
"""Directories that a user names for results: what is in them and not ours stays as it is.

A directory that we made, or found empty, gets the file `MARKER`. Whoever writes there holds a lock
on it, so that two runs never share one. What an earlier run left there is moved, not removed.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError, UserError
from harness.host.locking import FileLock
from harness.host.project import ARTIFACTS

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
        known = is_ours(place) or place.is_relative_to(ARTIFACTS)
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
        found = sorted({path for pattern in names for path in directory.glob(pattern)})
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


def prune(directory: Path, seconds: float, now: float) -> list[Path]:
    """Removes our directories below `directory` that were last written so many seconds before
    `now` (since the epoch); which those were. Those that a process writes to are left.
    """
    removed = []
    for marker in sorted(directory.glob(f"*/{MARKER}")):
        place = marker.parent
        if place.is_symlink() or now - _last_written(place) < seconds:
            continue
        with FileLock(marker) as lock:
            if lock.try_exclusive():
                shutil.rmtree(place, ignore_errors=True)
                removed.append(place)
    return removed


def fresh(directory: Path) -> Path:
    """An empty directory of ours: `directory`, or one beside it where that one is not ours."""
    place, number = directory, 1
    while place.exists() and not is_ours(place) and (not place.is_dir() or any(place.iterdir())):
        number += 1
        place = directory.with_name(f"{directory.name}-{number}")
    if is_ours(place):
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    (place / MARKER).touch()
    return place


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
