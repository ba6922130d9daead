# SPDX-License-Identifier: MIT
"""Files laid over a built tree: what differs and nothing else, back again, and never outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.builders import overlay
from harness.builders.overlay import FileContent, Layer
from harness.builders.repository import Repository
from harness.errors import BuildError, UserError
from tests.unit.builders.kernel_repository import commit, git, make, write


def content(text: str) -> FileContent:
    return FileContent(text.encode(), 0o644)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A tree and its origin."""
    for name in ("tree", "origin"):
        write(tmp_path / name, {"mm/cma.c": "old\n", "mm/gone.c": "x\n", "Makefile": "m\n"})
    return tmp_path / "tree", tmp_path / "origin"


def test_only_what_differs_is_written(trees: tuple[Path, Path]) -> None:
    layer = Layer(*trees)
    laid = {"mm/cma.c": content("new\n"), "Makefile": content("m\n"), "mm/gone.c": None}
    before = (trees[0] / "Makefile").stat().st_mtime_ns
    assert layer.lay(laid) == ["mm/cma.c", "mm/gone.c"]
    assert (trees[0] / "mm/cma.c").read_text() == "new\n"
    assert not (trees[0] / "mm/gone.c").exists()
    assert (trees[0] / "Makefile").stat().st_mtime_ns == before
    assert layer.lay(laid) == [], "make has nothing to do"
    assert layer.lay({**laid, "mm/new/a.c": content("a\n")}) == ["mm/new/a.c"]
    assert layer.lay({}) == ["mm/cma.c", "mm/gone.c", "mm/new/a.c"]
    assert (trees[0] / "mm/cma.c").read_text() == "old\n"
    assert (trees[0] / "mm/gone.c").read_text() == "x\n"
    assert not (trees[0] / "mm/new/a.c").exists()


def test_a_file_that_a_build_made_a_link_is_replaced_and_not_followed(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    tree, _ = trees
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tree / "mm/cma.c").unlink()
    (tree / "mm/cma.c").symlink_to(victim)
    Layer(*trees).lay({"mm/cma.c": content("new\n")})
    assert (victim.read_text(), (tree / "mm/cma.c").read_text()) == ("mine", "new\n")
    (tree / "out").symlink_to(tmp_path)
    with pytest.raises(BuildError, match="a link leads out"):
        Layer(*trees).lay({"out/victim": content("new\n")})
    assert victim.read_text() == "mine"


def test_a_commit_is_what_differs_from_a_directory(tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    os.symlink(".././linux//Makefile", tree / "link")  # noqa: PTH211
    commit(tree, "more")
    built = tmp_path / "built"
    git(tmp_path, "clone", "-q", str(tree), str(built))
    write(built, {"obj/mm/cma.o": "", "mm/Kbuild": "ours", "mm/cma.c": "other\n"})
    (built / "Kconfig").unlink()
    (built / "run.sh").chmod(0o644)
    write(built, {"drivers/old.c": ""})
    repository = Repository(tree)
    wanted = repository.files("HEAD")
    have = overlay.indexed(built, tmp_path / "index.json", {"mm/Kbuild"}, "sha1")
    paths = overlay.differing(have, wanted)
    assert paths == ["Kconfig", "drivers/old.c", "mm/cma.c", "run.sh"]
    laid = overlay.of_commit(repository, wanted, paths)
    assert laid["drivers/old.c"] is None
    assert laid["mm/cma.c"] == content("one\ntwo\n")
    assert laid["run.sh"] == FileContent(b"#!/bin/sh\n", 0o755)
    (built / "mm/cma.c").write_text("it is not read again")
    assert overlay.indexed(built, tmp_path / "index.json", {"mm/Kbuild"}, "sha1") == have
    (tmp_path / "index.json").write_text("damaged")
    assert overlay.indexed(built, tmp_path / "index.json", {"mm/Kbuild"}, "sha1") != have


def test_a_file_of_the_commit_where_one_of_ours_would_be_is_refused(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    write(ours, {"mm/Kbuild": "ours\n"})
    tree = make(tmp_path / "linux")
    overlay.check_additions(ours, Repository(tree).files("HEAD"), "sha1")
    write(tree, {"mm/Kbuild": "its own\n"})
    commit(tree, "Kbuild")
    with pytest.raises(UserError, match="mm/Kbuild of its own"):
        overlay.check_additions(ours, Repository(tree).files("HEAD"), "sha1")
