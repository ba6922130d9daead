# SPDX-License-Identifier: MIT
"""Directories for results: nothing in them that is not ours is ever lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.host import output
from harness.host.output import (
    EARLIER,
    KEPT,
    MARKER,
    claim,
    fresh,
    is_ours,
    own,
    prune,
    save,
    set_aside,
)


def precious(directory: Path) -> dict[str, str]:
    """Files of the user's, called like ours; their contents."""
    for name in ("notes.txt", "ttyAMA0.log", "images/holiday.jpg", "cache/x", "patches/my.patch"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return contents(directory)


def contents(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_a_directory_with_somebody_else_s_files_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' own directory may be below the artifacts, where all is ours.
    monkeypatch.setattr("harness.host.output.ARTIFACTS", Path("/nowhere"))
    before = precious(tmp_path / "mine")
    with pytest.raises(UserError, match="holds files that are not this harness's"):
        claim(tmp_path / "mine")
    assert contents(tmp_path / "mine") == before


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_one_and_a_new_one_are_taken(tmp_path: Path, made: bool) -> None:
    place = tmp_path / "a" / "b"
    if made:
        place.mkdir(parents=True)
    claim(place)
    claim(place)
    assert (place / MARKER).is_file()


def test_a_file_and_what_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to the directory"):
        claim(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write to the directory"):
        claim(Path("/proc/none"))


def test_two_processes_never_share_one(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.host.output import claim\n"
        "claim(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(UserError, match=f"is in use by process {other.pid}"):
            claim(tmp_path / "out")
        other.kill()
    claim(tmp_path / "out")


def test_what_an_earlier_run_left_is_moved_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "out"
    claim(place)
    precious(place)
    moved = set_aside(place, ("patches", "*.xml", "ttyAMA0.log"), remove=("images",))
    assert moved is not None
    assert moved.parent == place / EARLIER
    assert sorted(path.name for path in moved.iterdir()) == ["patches", "ttyAMA0.log"]
    assert sorted(path.name for path in place.iterdir()) == [MARKER, "cache", EARLIER, "notes.txt"]
    assert set_aside(place, ("patches",)) is None, "there is nothing"


def test_what_is_ours_of_the_directory_stays_where_all_else_is_moved(tmp_path: Path) -> None:
    claim(tmp_path)
    for number in range(2):
        (tmp_path / "result").write_text(str(number))
        moved = set_aside(tmp_path, ("*", ".*"))
        assert moved is not None
        assert [path.name for path in moved.iterdir()] == ["result"]
    assert is_ours(tmp_path)
    assert len(list((tmp_path / EARLIER).iterdir())) == 2


def test_a_link_is_moved_not_followed(tmp_path: Path) -> None:
    before = precious(tmp_path / "mine")
    place = tmp_path / "out"
    claim(place)
    (place / "patches").symlink_to(tmp_path / "mine")
    (place / "images").symlink_to(tmp_path / "mine")
    set_aside(place, ("patches",), remove=("images",))
    assert contents(tmp_path / "mine") == before


def test_only_so_many_earlier_runs_are_kept(tmp_path: Path) -> None:
    claim(tmp_path)
    for number in range(KEPT + 3):
        (tmp_path / "result").write_text(str(number))
        set_aside(tmp_path, ("result",))
    kept = sorted((tmp_path / EARLIER).iterdir())
    assert len(kept) == KEPT
    assert {(place / "result").read_text() for place in kept} == {
        str(number) for number in range(3, KEPT + 3)
    }


def test_old_ones_are_removed_on_request_and_nobody_else_s(tmp_path: Path) -> None:
    for name in ("old", "in-use"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER).touch()
    claim(tmp_path / "in-use")
    before = precious(tmp_path / "mine")
    later = time.time() + 1000
    places = [tmp_path / name for name in ("old", "in-use", "mine", "nowhere")]
    assert prune(places, 2000, later) == []
    assert prune(places, 500, later) == [tmp_path / "old"]
    assert (tmp_path / "in-use").is_dir()
    assert contents(tmp_path / "mine") == before


def test_a_test_s_directory_is_emptied_only_where_it_is_ours(tmp_path: Path) -> None:
    before = precious(tmp_path / "test_x")
    place = fresh(tmp_path / "test_x")
    assert place == tmp_path / "test_x-2"
    (place / "transcript.txt").touch()
    assert fresh(tmp_path / "test_x") == place
    assert [path.name for path in place.iterdir()] == [MARKER]
    assert contents(tmp_path / "test_x") == before


def test_what_was_removed_meanwhile_is_claimed_again(tmp_path: Path) -> None:
    place = tmp_path / "out"
    claim(place)
    (place / MARKER).unlink()
    place.rmdir()
    claim(place)
    assert output.is_ours(place)


def test_a_directory_of_ours_is_kept_and_somebody_else_s_gets_a_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.host.output.ARTIFACTS", Path("/nowhere"))
    before = precious(tmp_path / "mine")
    place = own(tmp_path / "mine")
    assert place == tmp_path / "mine-2"
    (place / "result").write_text("ours")
    assert own(tmp_path / "mine") == place
    assert (place / "result").read_text() == "ours"
    assert contents(tmp_path / "mine") == before


@pytest.mark.parametrize("there", ["<svg>old</svg>", "", "\n <SVG>"])
def test_a_result_of_before_is_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / "plot.svg").write_text(there)
    save(tmp_path / "plot.svg", "<svg>new</svg>", ["<svg"])
    save(tmp_path / "new" / "plot.svg", "<svg>new</svg>", ["<svg"])
    assert (tmp_path / "plot.svg").read_text() == "<svg>new</svg>"


def test_a_file_of_another_kind_is_refused_and_stays(tmp_path: Path) -> None:
    for name, content in (("cma.c", "int x;"), ("bytes", "\x80")):
        (tmp_path / name).write_text(content, encoding="latin-1")
        with pytest.raises(UserError, match="is there, and does not begin with <svg, so"):
            save(tmp_path / name, "<svg>", ["<svg"])
        assert (tmp_path / name).read_text(encoding="latin-1") == content
    with pytest.raises(UserError, match="is a directory"):
        save(tmp_path, "<svg>", ["<svg"])
    with pytest.raises(UserError, match="cannot write"):
        save(Path("/proc/none/x"), "<svg>", ["<svg"])


def test_a_pipe_is_written_to_and_a_link_s_target_replaced(tmp_path: Path) -> None:
    """As root, /dev/null itself would be lost."""
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    save(null, "<svg>", ["<svg"])
    assert null.is_symlink()
    assert Path("/dev/null").is_char_device()
    link = tmp_path / "link.svg"
    link.symlink_to("real.svg")
    save(link, "<svg>", ["<svg"])
    assert link.is_symlink()
    assert (tmp_path / "real.svg").read_text() == "<svg>"


def test_a_pipe_that_nobody_reads_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="nobody reads from the pipe"):
        save(tmp_path / "pipe", "KTAP version 1\n", ("KTAP",))


def test_the_reason_for_a_refusal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError) as caught:
        save(tmp_path / "x", "", ('{\n "version"',))
    assert "\n" not in str(caught.value)
