# SPDX-License-Identifier: MIT
"""Which commit a patch is for, where only the patch is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders.repository import Repository
from harness.gate.inputs import Input, read
from harness.gate.patch_base import base_of
from tests.unit.builders.kernel_repository import commit, git, make, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three commits of one subject on top of a first one."""
    place = make(tmp_path / "linux")
    for name in ("a", "b", "c"):
        write(place, {f"mm/{name}.c": f"{name}\n"})
        commit(place, "mm: one of three")
    return place


def mail(tree: Path, name: str, tmp_path: Path) -> Input:
    """A commit as it is sent."""
    path = tmp_path / "mail.patch"
    path.write_text(git(tree, "format-patch", "-1", "--stdout", "--subject-prefix=PATCH v2", name))
    return read([path])[0]


@pytest.mark.parametrize(("name", "base"), [("HEAD", "HEAD~1"), ("HEAD~2", "HEAD~3")])
def test_a_patch_of_the_branch_is_for_the_commit_before_its_own(
    tree: Path, name: str, base: str, tmp_path: Path
) -> None:
    found = base_of(Repository(tree), mail(tree, name, tmp_path))
    assert found.commit == git(tree, "rev-parse", base)


def test_another_patch_is_for_what_it_names_or_for_head(tree: Path, tmp_path: Path) -> None:
    repository = Repository(tree)
    patch = mail(tree, "HEAD", tmp_path)
    git(tree, "reset", "-q", "--hard", "HEAD~1")
    assert base_of(repository, patch).commit == git(tree, "rev-parse", "HEAD")
    old = git(tree, "rev-parse", "HEAD~1")
    path = tmp_path / "mail.patch"
    path.write_text(f"{path.read_text()}\nbase-commit: {old}\n")
    assert base_of(repository, read([path])[0]).commit == old
    path.write_text(path.read_text().replace(old, "0" * 40))
    assert base_of(repository, read([path])[0]).commit == git(tree, "rev-parse", "HEAD")
