# SPDX-License-Identifier: MIT
"""The search with several commits at once: rounds, histories that are no line, commits to skip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.gate.bisect import Tested, Undecided
from harness.gate.searchmany import search_many
from harness.gate.sections import Sections, rounds
from tests.unit.gate.test_bisect import History, made


class Batches:
    """Tests of a history's commits, and how many batches there were."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.batches: list[list[int]] = []

    def test(self, commits: Sequence[str], targets: Sequence[str]) -> list[Tested]:
        found = [self.history.test(commit, targets) for commit in commits]
        self.batches.append([self.history.commits.index(commit) for commit in commits])
        return found

    def search(self, count: int) -> int:
        ends = self.history.commits[0], self.history.commits[-1]
        found = search_many(*ends, self.history.place, self.test, count, lambda text: None)
        assert found.proved
        return self.history.commits.index(found.first_bad)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all tests: a search only reads it."""
    return made(tmp_path_factory.mktemp("many") / "tree", 27)


@pytest.fixture
def history(tree: Path) -> History:
    return History(tree)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("bad", [1, 14, 27])
def test_it_is_found_in_the_fewest_rounds(history: History, bad: int, count: int) -> None:
    history.bad_from = bad
    batches = Batches(history)
    assert batches.search(count) == bad
    assert batches.batches[0] == [27], "the bad end first: what it fails is what is asked"
    assert batches.batches[1][0] == 0
    assert batches.batches[-1] == [bad, bad, bad - 1, bad - 1]
    between = batches.batches[2:-1]
    assert len(between) <= rounds(27, count)
    assert all(len(batch) <= count for batch in batches.batches[:-1])


def test_commits_that_cannot_be_judged_are_gone_round(history: History) -> None:
    history.bad_from, history.skipped = 13, {9, 18, 10, 6}
    assert Batches(history).search(2) == 13


def test_where_only_such_are_left_nothing_is_claimed(history: History) -> None:
    history.bad_from, history.skipped = 13, {12}
    with pytest.raises(Undecided, match="cannot be judged are left"):
        Batches(history).search(3)


@pytest.mark.parametrize(
    ("bad_from", "said"), [(0, "GOOD, .*, is not good: red"), (99, "BAD, .*, is not bad: green")]
)
def test_ends_that_are_not_what_they_are_said_to_be(
    history: History, bad_from: int, said: str
) -> None:
    history.bad_from = bad_from
    with pytest.raises(UserError, match=said):
        Batches(history).search(3)


def test_ends_the_wrong_way_round_are_told(history: History) -> None:
    with pytest.raises(UserError, match="is no ancestor of"):
        search_many(
            history.commits[-1],
            history.commits[0],
            history.place,
            Batches(history).test,
            3,
            lambda text: None,
        )


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Histories with branches and merges; the last commit has all others as ancestors."""
    size = draw(st.integers(1, 25))
    parents: dict[str, list[str]] = {}
    for number in range(size):
        earlier = list(parents)
        count = draw(st.integers(0, 2))
        chosen = draw(st.lists(st.sampled_from(earlier), max_size=count)) if earlier else []
        parents[f"c{number}"] = sorted(set(chosen))
    children = set(itertools.chain.from_iterable(parents.values()))
    parents["end"] = [commit for commit in parents if commit not in children]
    return parents


@settings(max_examples=100)
@given(graphs(), st.integers(1, 4), st.data())
def test_in_any_history_the_first_bad_one_is_found(
    parents: dict[str, list[str]], count: int, data: st.DataObject
) -> None:
    first = data.draw(st.sampled_from(list(parents)))
    bad = {first}
    for commit, before in parents.items():
        if bad & set(before):
            bad.add(commit)
    sections = Sections(parents)
    if "end" not in bad:
        return
    while len(sections.left) > 1:
        chosen = sections.choose(count)
        assert chosen, "there is always something to ask"
        many = len(sections.left)
        for commit in chosen:
            (sections.bad if commit in bad else sections.good)(commit)
        assert len(sections.left) < many
    assert sections.left == [first]


def test_rounds_are_a_logarithm() -> None:
    assert [rounds(20, 1), rounds(27, 2), rounds(28, 2), rounds(1, 1)] == [5, 3, 4, 0]
