# SPDX-License-Identifier: MIT
"""Which commits to test at once, so that the first bad one is found in the fewest rounds.

With k commits a round, what can still be the first bad one is cut into k + 1 parts that are as
equal as the history lets them be. A commit's weight is how many of them are it or its ancestors:
where it is bad, so many are left, and else so many are gone (git-bisect(1) does it with k = 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.gate.inputs import git

MOST = 20_000
"""Commits of which the whole graph is looked at; of more only the first parents at first."""


class Sections:
    """The commits between a good one and a bad one, and what is known of them."""

    def __init__(self, parents: Mapping[str, Sequence[str]]) -> None:
        """`parents` has all commits that can be the first bad one, parents before children; the
        last one is bad.
        """
        self.commits = list(parents)
        self._bit = {commit: 1 << number for number, commit in enumerate(self.commits)}
        self._ancestors: dict[str, int] = {}
        for commit, before in parents.items():
            known = self._bit[commit]
            for parent in before:
                known |= self._ancestors.get(parent, 0)
            self._ancestors[commit] = known
        self._left = self._ancestors[self.commits[-1]]
        self._asked: set[str] = {self.commits[-1]}

    @property
    def left(self) -> list[str]:
        """What can still be the first bad commit."""
        return [commit for commit in self.commits if self._bit[commit] & self._left]

    def good(self, commit: str) -> None:
        """Neither it nor its ancestors are the first bad one."""
        self._asked.add(commit)
        self._left &= ~self._ancestors[commit]

    def bad(self, commit: str) -> None:
        """It or one of its ancestors is."""
        self._asked.add(commit)
        self._left &= self._ancestors[commit]

    def skip(self, commit: str) -> None:
        """Nothing is known of it, and it is not asked for again."""
        self._asked.add(commit)

    def choose(self, count: int) -> list[str]:
        """Up to `count` commits to be tested now; none where no more can be found out."""
        open_ones = [commit for commit in self.left if commit not in self._asked]
        total = self._left.bit_count()
        weights = {c: (self._ancestors[c] & self._left).bit_count() for c in open_ones}
        chosen: list[str] = []
        for number in range(1, count + 1):
            wanted = total * number / (count + 1)
            rest = [commit for commit in open_ones if commit not in chosen]
            if not rest:
                break
            chosen.append(min(rest, key=lambda commit: abs(weights[commit] - wanted)))
        return chosen


def between(directory: Path, good: str, bad: str) -> Sections:
    """The commits of a git tree that are in `bad` and not in `good`.

    Raises `UserError` where there are none.
    """
    words = ["rev-list", "--topo-order", "--reverse", "--parents", bad, f"^{good}"]
    rows = git(directory, *words).decode().splitlines()
    if len(rows) > MOST:
        words.insert(1, "--first-parent")
        rows = git(directory, *words).decode().splitlines()
    if not rows:
        raise UserError(f"there is nothing between {good[:12]} and {bad[:12]}")
    return Sections({commit: parents for commit, *parents in map(str.split, rows)})


def is_merge(directory: Path, commit: str) -> bool:
    """Whether a commit has several parents."""
    return len(git(directory, "rev-list", "--parents", "-1", commit).split()) > 2


def rounds(commits: int, count: int) -> int:
    """How many rounds a line of so many commits takes at most, `count` at a time."""
    needed = 0
    while commits > 1:
        commits = -(-commits // (count + 1))
        needed += 1
    return needed


def short(commits: Iterable[str]) -> str:
    """Some commits for a message."""
    return ", ".join(commit[:12] for commit in commits)
