# SPDX-License-Identifier: MIT
"""What ``harness gate`` takes from the user's words and from where he stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders.own_tree import CommitTree
from harness.cli import app
from harness.cli.judged import Asked
from harness.errors import UserError
from tests.unit.builders.kernel_repository import commit, make, write

PATCH = "--- a/mm/cma.c\n+++ b/mm/cma.c\n@@ -1 +1 @@\n-one\n+1\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = make(tmp_path / "linux")
    monkeypatch.chdir(place / "mm")
    return place


def judged(*words: str, kernel: str | Path | None = None, staged: bool = False) -> tuple[str, str]:
    """The base, and the names of what is judged."""
    asked = Asked(words, kernel, staged=staged)
    asked.check()
    base, found = asked.read()
    name = base.commit[:7] if isinstance(base, CommitTree) else str(base)
    return name, ", ".join(patch.name for patch in found)


def test_without_a_word_it_is_what_is_not_committed(tree: Path) -> None:
    head = commit_id(tree)
    write(tree, {"mm/cma.c": "1\ntwo\n"})
    assert judged() == (head, "what is not committed")
    assert judged(kernel=tree) == (head, "what is not committed")
    with pytest.raises(UserError, match="nothing is staged"):
        judged(staged=True)


def test_a_queue_in_a_kernel_s_tree_needs_the_kernel_s_name(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "a.patch").write_text(PATCH)
    assert app.main(["gate", "--queue", str(tmp_path / "queue")]) == 2
    assert "--kernel DIR" in capsys.readouterr().err


def test_a_file_is_a_patch_and_all_else_is_a_commit(tree: Path, tmp_path: Path) -> None:
    head = commit_id(tree)
    (tree / "mm" / "fix.patch").write_text(PATCH)
    assert judged("fix.patch") == (head, "fix.patch")
    assert judged("fix.patch", kernel="6.12") == ("6.12", "fix.patch")
    (tree / "mm" / "fix.patch").unlink()
    write(tree, {"mm/cma.c": "1\n"})
    new = commit(tree, "second")[:12]
    assert judged("HEAD") == (head, f"commit {new}")
    assert judged("HEAD~1..") == (head, f"commit {new}")
    with pytest.raises(UserError, match="no such file, and no such commit"):
        judged("fix.patch")
    with pytest.raises(UserError, match="one range of commits"):
        judged("HEAD", "HEAD~1")


def test_outside_of_a_kernel_a_patch_must_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no patch was given, and .* is in no git tree"):
        judged()
    (tmp_path / "fix.patch").write_text(PATCH)
    assert judged("fix.patch") == ("None", "fix.patch")


def commit_id(tree: Path) -> str:
    from tests.unit.builders.kernel_repository import git

    return git(tree, "rev-parse", "HEAD")[:7]
