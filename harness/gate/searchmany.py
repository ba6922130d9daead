# SPDX-License-Identifier: MIT
"""The search for the first bad commit with several commits tested at once; see `sections`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.gate.bisect import Found, Mark, Tested, Undecided, line
from harness.gate.inputs import commit_of, git
from harness.gate.sections import Sections, between, is_merge, rounds, short

TestMany = Callable[[Sequence[str], Sequence[str]], Sequence[Tested]]
"""Tests some commits at once, each by some tests (none: all); their results in the same order."""


def search_many(
    good: str,
    bad: str,
    directory: Path,
    test: TestMany,
    count: int,
    say: Callable[[str], None],
) -> Found:
    """As `harness.gate.bisect.search`, with up to `count` commits at once."""
    if git(directory, "merge-base", good, bad).decode().strip() != good:
        raise UserError(f"{good[:12]} is no ancestor of {bad[:12]}: there is nothing between")
    (end,) = test([bad], ())
    say(line("bad", end))
    if end.mark is not Mark.BAD:
        raise UserError(f"BAD, {bad[:12]}, is not bad: {end.why}")
    sections = between(directory, good, bad)
    say(f"{len(sections.commits)} commits: {rounds(len(sections.commits), count)} rounds or so")
    # The good end is tested beside the first of the others.
    first = sections.choose(count - 1)
    start, *tested = test([good, *first], end.tests)
    say(line("good", start))
    if start.mark is not Mark.GOOD:
        raise UserError(f"GOOD, {good[:12]}, is not good: {start.why}")
    steps: list[Tested] = []
    _note(sections, tested, steps, say)
    found = _narrow(sections, test, end.tests, count, steps, say)
    parent = commit_of(directory, f"{found}^")
    if is_merge(directory, found) and len(between(directory, parent, found).commits) > 1:
        # Of a long history only the first parents were looked at: now what this one merged.
        inner = between(directory, parent, found)
        found = _narrow(inner, test, end.tests, count, steps, say)
        parent = commit_of(directory, f"{found}^")
    proof = test([found, found, parent, parent], end.tests)
    for one in proof:
        say(line("proof", one))
    return Found(found, tuple(steps), tuple(proof))


def _narrow(
    sections: Sections,
    test: TestMany,
    targets: Sequence[str],
    count: int,
    steps: list[Tested],
    say: Callable[[str], None],
) -> str:
    """The first bad commit of these. Raises `Undecided`."""
    while len(sections.left) > 1:
        chosen = sections.choose(count)
        if not chosen:
            left = short(sections.left)
            raise Undecided(f"only commits that cannot be judged are left: one of {left}")
        _note(sections, test(chosen, targets), steps, say)
    if not sections.left:
        raise Undecided("good and bad commits contradict each other: there is no first bad one")
    return sections.left[0]


def _note(
    sections: Sections, tested: Sequence[Tested], steps: list[Tested], say: Callable[[str], None]
) -> None:
    marked = {Mark.GOOD: sections.good, Mark.BAD: sections.bad, Mark.SKIP: sections.skip}
    for one in tested:
        marked[one.mark](one.commit)
        steps.append(one)
        say(line(f"step {len(steps)}", one))
    if tested:
        say(f"{len(sections.left)} can still be the first bad one")
