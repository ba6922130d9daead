# SPDX-License-Identifier: MIT
"""How jobs are shared out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.nightly.job import Job, JobKind
from harness.nightly.shard import plan_digest, share_out
from tests.unit.nightly.fake import job


def named(*names: str) -> list[Job]:
    return [job(name) for name in names]


@given(st.integers(0, 30), st.integers(1, 8), st.integers())
def test_every_job_is_in_one_share_and_equal_arguments_give_equal_shares(
    jobs: int, count: int, seed: int
) -> None:
    dice = random.Random(seed)
    made = [job(f"job-{n}", dice.choice(list(JobKind))) for n in range(jobs)]
    known = {one.name: dice.random() * 1000 for one in made if dice.random() < 0.5}
    shares = share_out(made, count, known)
    assert len(shares) == count
    assert sorted(one.name for share in shares for one in share) == sorted(j.name for j in made)
    assert share_out(made, count, dict(reversed(known.items()))) == shares


def test_the_longest_job_has_a_share_of_its_own() -> None:
    shares = share_out(named("a", "b", "c", "d"), 2, {"a": 1, "b": 100, "c": 1, "d": 1})
    assert [[one.name for one in share] for share in shares] == [["b"], ["a", "c", "d"]]


def test_an_unknown_job_counts_as_others_of_its_kind() -> None:
    shares = share_out(named("a", "b", "new"), 2, {"a": 100, "b": 100})
    assert sorted(len(share) for share in shares) == [1, 2]
    known = {"a": 1000.0, "b": 10.0, "c": 10.0}
    shares = share_out(named("a", "b", "c", "new"), 2, known)
    assert ["a"] in [[one.name for one in share] for share in shares]


@pytest.mark.parametrize("count", [1, 3])
def test_a_share_keeps_the_matrix_s_order(count: int) -> None:
    names = ["z", "y", "x", "w", "v"]
    for share in share_out(named(*names), count):
        assert [one.name for one in share] == sorted((o.name for o in share), reverse=True)


def test_the_plan_s_digest_says_who_does_what() -> None:
    one = share_out(named("a", "b"), 2)
    assert plan_digest(one) == plan_digest(share_out(named("a", "b"), 2))
    assert plan_digest(one) != plan_digest(one[::-1])
    assert plan_digest(one) != plan_digest(share_out(named("a", "c"), 2))
