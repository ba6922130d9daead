# SPDX-License-Identifier: MIT
"""A copy that a build may change: every kind of change is found, and undone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.builders.mirror import Mirror, plain_file, remove
from harness.errors import BuildError


def run(words: Sequence[str | Path]) -> None:
    subprocess.run(list(words), check=True)


def tree(path: Path) -> dict[str, object]:
    """What is there: content, target or mode, and times of files."""
    found: dict[str, object] = {}
    for place in sorted(path.rglob("*")):
        name, info = str(place.relative_to(path)), place.lstat()
        if place.is_symlink():
            found[name] = place.readlink()
        elif place.is_dir():
            found[name] = info.st_mode
        else:
            found[name] = (place.read_bytes(), info.st_mode, info.st_mtime_ns)
    return found


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    origin = tmp_path / "origin"
    (origin / "mm" / "deep").mkdir(parents=True)
    (origin / "mm" / "cma.c").write_text("cma")
    (origin / "mm" / "deep" / "x.c").write_text("x")
    (origin / "link").symlink_to("mm/cma.c")
    made = Mirror(origin, tmp_path / "place", tmp_path / "record.json")
    assert made.prepare(run)
    made.lend()
    return made


def same_time(place: Path) -> None:
    """Other content, of the same size and with the same time of modification."""
    file = place / "mm" / "cma.c"
    times = file.stat()
    file.write_text("CMA")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def directory_to_link(place: Path) -> None:
    shutil.rmtree(place / "mm")
    (place / "mm").symlink_to(place.parent / "outside")


def file_to_directory(place: Path) -> None:
    (place / "mm" / "cma.c").unlink()
    (place / "mm" / "cma.c").mkdir()
    (place / "mm" / "cma.c" / "new").write_text("new")


def exchange(place: Path) -> None:
    (place / "mm" / "deep" / "x.c").replace(place / "mm" / "cma.c")


def another_link(place: Path) -> None:
    (place / "link").unlink()
    (place / "link").symlink_to("/")


def locked(place: Path) -> None:
    (place / "mm" / "deep").chmod(0)


SPOILT: dict[str, Callable[[Path], object]] = {
    "same size and time": same_time,
    "removed": lambda place: shutil.rmtree(place / "mm"),
    "new file": lambda place: (place / "mm" / "new").write_text("new"),
    "new directories": lambda place: (place / "a" / "b").mkdir(parents=True),
    "a directory becomes a link": directory_to_link,
    "a file becomes a directory": file_to_directory,
    "one file becomes another": exchange,
    "mode": lambda place: (place / "mm" / "cma.c").chmod(0o777),
    "a directory's mode": locked,
    "another link": another_link,
    "hard link from elsewhere": lambda place: os.link(place / "mm/cma.c", place.parent / "kept"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_was_spoilt_is_made_good(mirror: Mirror, how: str) -> None:
    outside = mirror.place.parent / "outside"
    outside.mkdir()
    (outside / "cma.c").write_text("mine")
    SPOILT[how](mirror.place)
    assert mirror.restore()
    assert tree(mirror.place) == tree(mirror.origin)
    assert (outside / "cma.c").read_text() == "mine", "no link is followed"
    mirror.lend()
    assert mirror.restore() == [], "and it is known to be good"


def test_only_what_was_lent_is_looked_at(mirror: Mirror) -> None:
    assert mirror.restore() == []
    (mirror.place / "mm" / "cma.c").write_text("bad")
    assert not mirror.prepare(run)
    assert (mirror.place / "mm" / "cma.c").read_text() == "bad"
    mirror.lend()
    assert not mirror.prepare(run)
    assert (mirror.place / "mm" / "cma.c").read_text() == "cma"


def test_a_copy_that_was_not_finished_is_made_anew(mirror: Mirror) -> None:
    mirror.restore()
    remove(mirror.place)

    def interrupted(words: Sequence[str | Path]) -> None:
        mirror.place.mkdir()
        raise KeyboardInterrupt

    mirror.lend()
    with pytest.raises(KeyboardInterrupt):
        mirror.prepare(interrupted)
    assert mirror.prepare(run)
    assert tree(mirror.place) == tree(mirror.origin)


def test_a_plain_file_is_one_without_any_link_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_text("x")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "dir" / "too").symlink_to("file")
    assert plain_file(tmp_path, "dir/file").read_text() == "x"
    for path in ("link/file", "dir/too", "dir", "none"):
        with pytest.raises(BuildError, match="no plain file"):
            plain_file(tmp_path, path)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"mm": 1}', "null", '{"a": ["x", 1, 2]}'])
def test_a_damaged_record_is_as_if_it_were_missing(mirror: Mirror, damage: str) -> None:
    good = tree(mirror.origin)
    (mirror.place / "mm" / "cma.c").write_text("bad")
    (mirror.place.parent / "record.json").write_text(damage)
    assert mirror.restore() == [], "nothing is known of what was changed"
    assert mirror.prepare(run), "it is copied anew"
    assert tree(mirror.place) == good
