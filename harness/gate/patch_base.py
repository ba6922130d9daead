# SPDX-License-Identifier: MIT
"""The commit that a patch is for, in the git tree that it is from, where only it is given."""

from __future__ import annotations

import re

from harness.builders.own_tree import CommitTree
from harness.builders.repository import Repository
from harness.errors import UserError
from harness.gate.inputs import Input

SEARCHED = 200
"""Commits before HEAD among which the patch is looked for."""
_BASE = re.compile(r"(?m)^base-commit: ([0-9a-f]{40,64})\s*$")


def base_of(repository: Repository, patch: Input) -> CommitTree:
    """The commit before the one that the patch was made from, where that is one of HEAD's last ones
    (a series is checked patch by patch: b4, ``git rebase --exec``); else what its ``base-commit``
    names (git-format-patch(1)), else HEAD. Raises `UserError` where there is no commit.
    """
    wanted = _patch_id(repository, patch.text)
    for commit in _titled(repository, patch.subject):
        try:
            parent = repository.parent(commit)
        except UserError:  # the first one, or where a shallow clone ends
            continue
        text = repository.changes(parent, commit).decode("utf-8", "surrogateescape")
        if wanted and _patch_id(repository, text) == wanted:
            return CommitTree(repository, parent)
    named = _BASE.search(patch.message) or _BASE.search(patch.text)
    if named and repository.is_commit(named[1]):
        return CommitTree(repository, repository.commit(named[1]))
    return CommitTree(repository, repository.commit("HEAD"))


def _titled(repository: Repository, subject: str) -> list[str]:
    """Commits of that subject, the newest first; without one, all of them."""
    listed = repository.git(
        *("log", f"-{SEARCHED}", "--no-show-signature", "--no-merges", "--format=%H%x00%s", "HEAD")
    ).decode("utf-8", "replace")
    rows = [row.split("\0", 1) for row in listed.splitlines() if "\0" in row]
    wanted = " ".join(subject.split())
    return [commit for commit, title in rows if not wanted or " ".join(title.split()) == wanted]


def _patch_id(repository: Repository, diff: str) -> str:
    """git's name for a change, whatever its line numbers; empty for none."""
    said = repository.git("patch-id", "--stable", data=diff.encode("utf-8", "surrogateescape"))
    return said.decode().partition(" ")[0]
