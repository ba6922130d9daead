# SPDX-License-Identifier: MIT
"""A kernel developer's git tree: what is read of it, and that it stays as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.builders.repository import Repository
from harness.errors import UserError
from tests.unit.builders.kernel_repository import commit, git, make, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "linux")


def found(place: Path) -> Repository:
    repository = Repository.find(place)
    assert repository is not None
    return repository


def state(place: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a directory, git's own included, with its time."""
    return {
        str(path.relative_to(place)): (path.lstat().st_mtime_ns, path.read_bytes())
        for path in place.rglob("*")
        if path.is_file()
    }


def test_it_is_found_from_any_directory_of_the_tree(tree: Path) -> None:
    assert found(tree) == found(tree / "mm") == Repository(tree)
    # pytest's own directory may be in a checkout.
    with tempfile.TemporaryDirectory() as place:
        assert Repository.find(Path(place)) is None
        shutil.rmtree(tree / ".git")
        bare = Path(place) / "linux"
        shutil.copytree(tree, bare)
        assert Repository.find(bare) is None, "a tree without git"


def test_a_kernel_below_the_top_of_a_bigger_repository(tmp_path: Path) -> None:
    top = tmp_path / "product"
    kernel = make(tmp_path / "linux")
    shutil.rmtree(kernel / ".git")
    make(top, {"README": "x\n"})
    kernel.rename(top / "kernel")
    commit(top, "the kernel")
    write(top, {"README": "y\n", "kernel/mm/cma.c": "one\n2\n"})
    repository = found(top / "kernel" / "mm")
    assert (repository.top, repository.prefix) == (top, "kernel/")
    assert repository.changed_paths() == ["mm/cma.c"]
    assert b"a/mm/cma.c" in repository.uncommitted()
    assert b"README" not in repository.uncommitted()
    assert "mm/cma.c" in repository.files(repository.commit("HEAD"))
    assert repository.text("HEAD", "mm/cma.c") == "one\ntwo\n"


@pytest.mark.parametrize("split", [False, True])
def test_nothing_of_the_tree_is_written(tree: Path, split: bool) -> None:
    if split:
        git(tree, "update-index", "--split-index")
    os.utime(tree / "mm" / "cma.c", (1, 1))  # git would refresh its index
    write(tree, {"mm/cma.c": "one\n2\n", "mm/cma.o": "built", "mm/new.c": ""})
    os.utime(tree / "Makefile", (1, 1))
    before = state(tree)
    repository = found(tree)
    assert repository.changed_paths() == ["mm/cma.c"]
    repository.uncommitted()
    repository.uncommitted(staged=True)
    repository.untracked()
    repository.files(repository.commit("HEAD"))
    assert state(tree) == before


def test_staged_and_unstaged_are_told_apart(tree: Path) -> None:
    write(tree, {"mm/cma.c": "1\ntwo\n"})
    git(tree, "add", "mm/cma.c")
    write(tree, {"mm/cma.c": "1\n2\n"})
    repository = found(tree)
    assert b"+2" in repository.uncommitted()
    assert b"+1" in repository.uncommitted()
    assert b"+2" not in repository.uncommitted(staged=True)
    assert b"+1" in repository.uncommitted(staged=True)


def test_a_hook_s_own_index_counts(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree, {"mm/cma.c": "1\ntwo\n"})
    other = tree / ".git" / "next-index"
    shutil.copy2(tree / ".git" / "index", other)
    monkeypatch.setenv("GIT_INDEX_FILE", str(other))
    git(tree, "add", "mm/cma.c")
    repository = found(tree)
    assert b"+1" in repository.uncommitted(staged=True)
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert repository.uncommitted(staged=True) == b""


def test_the_user_s_settings_do_not_change_a_diff(tree: Path) -> None:
    write(tree, {"mm/cma.c": "1\ntwo\n"})
    before = found(tree).uncommitted()
    for name, value in (
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("color.ui", "always"),
        ("diff.external", "false"),
        ("diff.context", "0"),
        ("core.fsmonitor", "false"),
    ):
        git(tree, "config", name, value)
    assert found(tree).uncommitted() == before


def test_a_work_tree_of_another_repository_and_a_sparse_one(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tree, "worktree", "add", "-q", "-b", "topic", str(other))
    git(other, "sparse-checkout", "set", "mm")
    assert not (other / "arch").exists()
    write(other, {"mm/cma.c": "1\ntwo\n"})
    repository = found(other)
    assert repository.changed_paths() == ["mm/cma.c"], "what is not checked out is no change"
    assert "arch/arm/Kconfig" in repository.files("HEAD")


def test_a_shallow_clone_says_what_it_lacks(tree: Path, tmp_path: Path) -> None:
    write(tree, {"mm/cma.c": "1\n"})
    commit(tree, "second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tree}", str(clone))
    with pytest.raises(UserError, match="shallow: git fetch --deepen"):
        found(clone).parent("HEAD")
    with pytest.raises(UserError, match="it is the first one"):
        found(tree).parent("HEAD~1")


def test_a_partial_clone_is_not_filled(tree: Path, tmp_path: Path) -> None:
    git(tree, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    words = ("--filter=blob:none", "--no-checkout", f"file://{tree}", str(clone))
    git(tmp_path, "clone", "-q", *words)
    repository = Repository(clone)
    blob = repository.files("HEAD")["mm/cma.c"].blob
    before = state(clone)
    with pytest.raises(UserError, match="partial clone"):
        repository.contents([blob])
    assert state(clone) == before


def test_submodules_of_others_are_no_files_of_the_kernel(tree: Path, tmp_path: Path) -> None:
    make(tmp_path / "tools", {"x": "1\n"})
    allow = ("-c", "protocol.file.allow=always")
    git(tree, *allow, "submodule", "add", "-q", str(tmp_path / "tools"), "tools/other")
    commit(tree, "tools")
    write(tree, {"tools/other/x": "2\n"})
    repository = found(tree)
    assert repository.changed_paths() == []
    assert "tools/other" not in repository.files("HEAD")


def test_conflicts_and_an_empty_history_are_said(tree: Path, tmp_path: Path) -> None:
    git(tree, "checkout", "-q", "-b", "topic")
    write(tree, {"mm/cma.c": "a\n"})
    commit(tree, "a")
    git(tree, "checkout", "-q", "main")
    write(tree, {"mm/cma.c": "b\n"})
    commit(tree, "b")
    with pytest.raises(Exception, match="merge"):
        git(tree, "merge", "-q", "topic")
    with pytest.raises(UserError, match="conflicts"):
        found(tree).uncommitted()
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    write(empty, {"Kbuild": "", "Kconfig": "", "Makefile": ""})
    with pytest.raises(UserError, match="no commit yet"):
        found(empty).uncommitted()


def test_the_upstream_of_a_branch(tree: Path) -> None:
    git(tree, "checkout", "-q", "-b", "topic")
    with pytest.raises(UserError, match="no upstream to compare with"):
        found(tree).upstream("topic")
    git(tree, "branch", "-q", "--set-upstream-to=main", "topic")
    assert found(tree).upstream("topic") == "main"
    assert found(tree).upstream("HEAD") == ""
    with pytest.raises(UserError, match="has no commit nothing"):
        found(tree).commit("nothing")
