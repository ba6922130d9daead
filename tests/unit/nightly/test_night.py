# SPDX-License-Identifier: MIT
"""The night's course, with jobs that are not run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.nightly.job import Job, JobKind, JobStatus
from harness.nightly.night import NightRunner
from tests.unit.nightly.fake import FAILED, HOST, PASSED, FakeStarter, Kept, Silent, job

PLACE = Path("artifacts")


def run(
    starter: FakeStarter, *jobs: Job, workers: int = 2, unbuilt: Mapping[str, str] | None = None
) -> Kept:
    kept = Kept()
    night = NightRunner(starter.engine(workers), starter, kept, PLACE, Silent())
    night.run(jobs, unbuilt or {})
    return kept


def test_jobs_run_beside_each_other_up_to_the_number_of_workers() -> None:
    starter = FakeStarter()
    run(starter, *(job(name) for name in "abcde"), workers=2)
    assert max(len(names) for names in starter.together) == 2
    assert [name for name, _, _ in starter.started] == list("abcde")


def test_a_job_that_infrastructure_ends_is_run_once_more_and_that_is_recorded() -> None:
    starter = FakeStarter(a=[HOST, PASSED])
    kept = run(starter, job("a"))
    assert kept.attempts == [
        ("a", 1, JobStatus.INFRASTRUCTURE, False),
        ("a", 2, JobStatus.PASSED, True),
    ]
    assert starter.started == [
        ("a", PLACE / "a" / "attempt-1", None),
        ("a", PLACE / "a" / "attempt-2", HOST),
    ]


def test_it_is_not_run_a_third_time() -> None:
    kept = run(FakeStarter(a=[HOST, HOST, PASSED]), job("a"))
    assert [(number, last) for _, number, _, last in kept.attempts] == [(1, False), (2, True)]


def test_the_product_s_fault_is_not_tried_again() -> None:
    kept = run(FakeStarter(a=[FAILED, PASSED]), job("a"), job("b"))
    assert ("a", 1, JobStatus.FAILED, True) in kept.attempts
    assert len(kept.attempts) == 2


def test_nothing_runs_beside_a_measurement() -> None:
    starter = FakeStarter()
    jobs = [job("a"), job("m", JobKind.MEASURE), job("b"), job("n", JobKind.MEASURE), job("c")]
    run(starter, *jobs, workers=4)
    assert [names for names in starter.together if names & {"m", "n"}] == [{"m"}, {"n"}]
    assert [name for name, _, _ in starter.started] == ["a", "m", "b", "n", "c"]


def test_mutants_of_one_kernel_wait_for_each_other_and_others_do_not_wait() -> None:
    starter = FakeStarter()
    jobs = [job("m", JobKind.MUTANTS), job("n", JobKind.MUTANTS), job("o", JobKind.MUTANTS, "6.12")]
    run(starter, *jobs, job("a"), workers=3)
    assert starter.together[0] == {"m"}
    assert {"m", "o", "a"} in starter.together
    assert not any({"m", "n"} <= names for names in starter.together)


def test_jobs_of_a_kernel_that_was_not_built_are_recorded_and_not_started() -> None:
    starter = FakeStarter()
    kept = run(starter, job("a"), job("b", kernel="6.12"), unbuilt={"6.12": "no space left"})
    assert [name for name, _, _ in starter.started] == ["a"]
    assert ("b", 2, JobStatus.INFRASTRUCTURE, True) in kept.attempts


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError()])
def test_whatever_ends_the_night_no_job_runs_on_and_results_are_kept(error: BaseException) -> None:
    starter = FakeStarter(b=[error])
    kept = Kept()
    night = NightRunner(starter.engine(3), starter, kept, PLACE, Silent())
    with pytest.raises(type(error)):
        night.run([job("a"), job("b"), job("c"), job("d")], {})
    assert kept.attempts == [("a", 1, JobStatus.PASSED, True)]
    assert starter.stopped == ["b", "c", "d"]
    assert starter.now == []
