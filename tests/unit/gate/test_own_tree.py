# SPDX-License-Identifier: MIT
"""What is judged in somebody's own git tree, on which commit, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders.repository import Repository
from harness.errors import UserError
from harness.gate import own_tree
from harness.gate.own_tree import Change
from tests.unit.builders.kernel_repository import FILES, commit, git, make, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "linux")


def changed(tree: Path, words: str = "") -> Change:
    repository = Repository(tree)
    return own_tree.revisions(repository, words) if words else own_tree.uncommitted(repository)


def seen(change: Change) -> tuple[str, list[str]]:
    """The base's subject, and what is judged."""
    base = change.base.repository.title(change.base.commit)[0]
    return base, [patch.subject or patch.name for patch in change.patches]


def series(tree: Path, *names: str) -> None:
    for name in names:
        write(tree, {"mm/cma.c": f"one\n{name}\n"})
        commit(tree, name)


def test_what_is_not_committed(tree: Path) -> None:
    with pytest.raises(UserError, match="nothing differs from its last commit"):
        changed(tree)
    write(tree, {"mm/cma.c": "one\n2\n"})
    change = changed(tree)
    assert seen(change) == ("first", ["what is not committed"])
    assert change.patches[0].paths == ("mm/cma.c",)
    with pytest.raises(UserError, match="nothing is staged"):
        own_tree.uncommitted(Repository(tree), staged=True)


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that is only read: a branch of three commits, and one more on what it is based on."""
    tree = make(tmp_path_factory.mktemp("branched") / "linux")
    git(tree, "checkout", "-q", "-b", "topic", "--track", "main")
    series(tree, "a")
    git(tree, "tag", "v1")
    series(tree, "b", "c")
    git(tree, "checkout", "-q", "main")
    write(tree, {"mm/other.c": "it went on\n"})
    commit(tree, "elsewhere")
    git(tree, "checkout", "-q", "topic")
    return tree


@pytest.mark.parametrize(
    ("words", "base", "judged"),
    [
        ("HEAD", "b", ["c"]),
        ("HEAD~1", "a", ["b"]),
        ("v1", "first", ["a"]),
        ("v1..", "a", ["b", "c"]),
        ("v1..HEAD~1", "a", ["b"]),
        ("main..topic", "first", ["a", "b", "c"]),
        ("main...topic", "first", ["a", "b", "c"]),
        ("topic", "first", ["a", "b", "c"]),
        ("@{u}..", "first", ["a", "b", "c"]),
    ],
)
def test_commits(branched: Path, words: str, base: str, judged: list[str]) -> None:
    assert seen(changed(branched, words)) == (base, judged)


def test_a_range_without_a_commit_and_a_first_commit_are_refused(tree: Path) -> None:
    with pytest.raises(UserError, match="there is no commit in it"):
        changed(tree, "HEAD..HEAD")
    with pytest.raises(UserError, match="has no commit before it"):
        changed(tree, "HEAD")


@pytest.mark.parametrize(
    ("made", "tracked", "left_out"),
    [
        ({"mm/new.c": ""}, {"mm/Makefile": "obj-y += cma.o new.o\n"}, {"mm/new.c": "mm/Makefile"}),
        ({"mm/new.c": ""}, {"mm/Makefile": "obj-y += cma.o renew.o\n"}, {}),
        ({"mm/x.h": ""}, {"mm/cma.c": '#include "x.h"\n'}, {"mm/x.h": "mm/cma.c"}),
        (
            {"include/linux/x.h": ""},
            {"mm/cma.c": "#include <linux/x.h>\n"},
            {"include/linux/x.h": "mm/cma.c"},
        ),
        ({"mm/x.h": ""}, {"mm/cma.c": "x.h\n"}, {}),
        ({"mm/Kconfig.x": ""}, {"Kconfig": 'source "mm/Kconfig.x"\n'}, {"mm/Kconfig.x": "Kconfig"}),
        (
            {"mm/sub/Makefile": "obj-y += a.o\n", "mm/sub/a.c": "", "mm/sub/b.c": ""},
            {"mm/Makefile": "obj-y += cma.o sub/\n"},
            {"mm/sub/Makefile": "mm/Makefile", "mm/sub/a.c": "mm/sub/Makefile"},
        ),
        ({"mm/sub/a.c": ""}, {"mm/Makefile": "obj-y += sub/a.o\n"}, {"mm/sub/a.c": "mm/Makefile"}),
        ({"notes.txt": "", "mm/new.o": "", "mm/cma.c.orig": ""}, {"mm/Makefile": "# new.o\n"}, {}),
    ],
)
def test_what_is_not_added_and_would_matter_is_said(
    tree: Path, made: dict[str, str], tracked: dict[str, str], left_out: dict[str, str]
) -> None:
    write(tree, {**made, **tracked})
    assert [note.split(" is not added")[0] for note in changed(tree).notes] == sorted(left_out)
    for note in changed(tree).notes:
        path = note.split()[0]
        assert f"{left_out[path]} names it: git add -N {path}" in note


def test_a_file_that_is_said_to_be_added_counts(tree: Path) -> None:
    write(tree, {"mm/new.c": "int x;\n", "mm/Makefile": f"{FILES['mm/Makefile']}obj-y += new.o\n"})
    git(tree, "add", "-N", "mm/new.c")
    change = changed(tree)
    assert change.notes == ()
    assert change.patches[0].paths == ("mm/Makefile", "mm/new.c")
