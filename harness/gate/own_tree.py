# SPDX-License-Identifier: MIT
"""What is to be judged in a kernel developer's own git tree, and on which commit."""

from __future__ import annotations

import dataclasses
import re

from harness.builders.own_tree import CommitTree
from harness.builders.repository import Repository
from harness.errors import UserError
from harness.gate.inputs import Input, one_patch
from harness.gate.untracked import left_out

_RANGE = re.compile(r"(?P<old>.*?)(?P<dots>\.\.\.?)(?P<new>.*)")


@dataclasses.dataclass(frozen=True)
class Change:
    """Patches, the oldest first, and the commit that they are for."""

    base: CommitTree
    patches: tuple[Input, ...]
    notes: tuple[str, ...] = ()
    """What was left out that would matter, a line each."""


def uncommitted(repository: Repository, *, staged: bool = False) -> Change:
    """What differs from HEAD: all of it, or what is staged. Raises `UserError` for nothing."""
    name = "what is staged" if staged else "what is not committed"
    text = repository.uncommitted(staged=staged)
    missed = () if staged else tuple(left_out(repository, _text(text)))
    if not text:
        where = "is staged" if staged else "differs from its last commit"
        also = "".join(f"\n{note}" for note in missed)
        raise UserError(
            f"nothing {where} in {repository.root}; HEAD, A..B or a branch judges commits{also}"
        )
    head = repository.commit("HEAD")
    patch = one_patch(name, "", "", _text(text))
    return Change(CommitTree(repository, head), (patch,), missed)


def revisions(repository: Repository, words: str) -> Change:
    """Commits: ``A..B`` those that B has and A has not, a branch those that its upstream has not,
    any other name that commit alone. Raises `UserError`.
    """
    match = _RANGE.fullmatch(words)
    if match:
        old, new = match["old"] or "HEAD", match["new"] or "HEAD"
        base, tip = repository.merge_base(old, new), repository.commit(new)
    elif upstream := repository.upstream(words):
        base, tip = repository.merge_base(upstream, words), repository.commit(words)
        words = f"{upstream}..{words}"
    else:
        return one_commit(repository, words)
    commits = repository.between(base, tip)
    if not commits:
        raise UserError(f"{words}: there is no commit in it")
    patches = []
    before = base
    for commit in commits:
        patches.append(_patch(repository, before, commit))
        before = commit
    return Change(CommitTree(repository, base), tuple(patches))


def one_commit(repository: Repository, name: str) -> Change:
    """One commit, on the one before it. Raises `UserError`."""
    commit, parent = repository.commit(name), repository.parent(name)
    return Change(CommitTree(repository, parent), (_patch(repository, parent, commit),))


def _patch(repository: Repository, before: str, commit: str) -> Input:
    subject, author = repository.title(commit)
    text = _text(repository.changes(before, commit))
    name = f"commit {commit[:12]}"
    if not text:
        raise UserError(f"{name} ({subject}) changes no file of the kernel")
    return one_patch(name, subject, author, text)


def _text(diff: bytes) -> str:
    return diff.decode("utf-8", "surrogateescape")
