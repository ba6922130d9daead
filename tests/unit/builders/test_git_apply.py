# SPDX-License-Identifier: MIT
"""Patches for other files than those at hand: at other lines, merged, or with less context."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.builders.cache import BuildDirectory
from harness.builders.git_apply import Apply
from harness.builders.process import ToolRunner
from harness.errors import BuildError

OLD = "".join(f"line {number}\n" for number in range(30))
CHANGED = OLD.replace("line 15\n", "line fifteen\n")


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
    argv = ["git", *identity, "-C", str(directory), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git tree whose file is `OLD`, and then `CHANGED`."""
    path = tmp_path / "repository"
    (path / "mm").mkdir(parents=True)
    git(path, "init", "-q")
    for text in (OLD, CHANGED):
        (path / "mm" / "cma.c").write_text(text)
        git(path, "add", ".")
        git(path, "commit", "-qm", "x")
    return path


@pytest.fixture
def apply(tmp_path: Path, repository: Path, build_dir: BuildDirectory) -> Apply:
    """The patch from `OLD` to `CHANGED`, and a tree without files."""
    patch = tmp_path / "x.patch"
    patch.write_text(git(repository, "diff", "HEAD^", "HEAD"))
    (tmp_path / "tree" / "mm").mkdir(parents=True)
    return Apply(ToolRunner(build_dir), tmp_path / "tree", patch, "x.patch")


def tree_file(apply: Apply, text: str) -> Path:
    path = apply.place / "mm" / "cma.c"
    path.write_text(text)
    return path


def test_at_other_lines_it_is_exact(apply: Apply) -> None:
    file = tree_file(apply, "more\n" * 7 + OLD)
    apply.exactly()
    assert file.read_text() == "more\n" * 7 + CHANGED


def test_what_does_not_apply_changes_nothing(apply: Apply) -> None:
    other = OLD.replace("line 15\n", "line XV\n")
    file = tree_file(apply, other)
    with pytest.raises(BuildError, match=r"applying x\.patch failed"):
        apply.exactly()
    assert apply.loosely(["mm/cma.c"], None) == ""
    assert file.read_text() == other


# A line of its context is another: exactly it does not apply.
NEAR = OLD.replace("line 13\n", "line thirteen\n")


def test_fuzz_is_said(apply: Apply) -> None:
    file = tree_file(apply, NEAR)
    with pytest.raises(BuildError):
        apply.exactly()
    said = apply.loosely(["mm/cma.c"], None)
    assert said.startswith("x.patch: applied with less context than it has (fuzz): ")
    assert "Context reduced to (1/1)" in said
    assert "line fifteen" in file.read_text()


def test_where_the_blobs_are_known_it_is_merged(apply: Apply, repository: Path) -> None:
    """All of the context is another, on one side: no fuzz would do."""
    text = OLD
    for number in (12, 13):
        text = text.replace(f"line {number}\n", f"LINE {number}\n")
    file = tree_file(apply, text.replace("line 14\n", "LINE 14\n"))
    before = sorted(path for path in repository.rglob("*") if path.is_file())
    assert apply.loosely(["mm/cma.c"], None) == ""
    # git merges changes of neighbouring lines only where a line lies between.
    file.write_text(text)
    said = apply.loosely(["mm/cma.c"], repository)
    assert said == "x.patch: merged with the blobs that it was made against (three-way)"
    assert file.read_text() == text.replace("line 15\n", "line fifteen\n")
    assert sorted(path for path in repository.rglob("*") if path.is_file()) == before


def test_a_conflict_is_no_merge(apply: Apply, repository: Path) -> None:
    other = OLD.replace("line 15\n", "line XV\n")
    file = tree_file(apply, other)
    assert apply.loosely(["mm/cma.c"], repository) == ""
    assert file.read_text() == other
