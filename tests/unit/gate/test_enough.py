# SPDX-License-Identifier: MIT
"""When a suite has failed enough."""

from __future__ import annotations

from harness.gate.enough import Failures
from harness.gate.options import GRACE, MOST_FAILURES
from harness.testrun.result import STRICT, CaseResult

PASSED = CaseResult("good", "passed")


def failed(test: str, verdict: str = "product", message: str = "") -> CaseResult:
    return CaseResult(test, "failed", verdict, message)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_failure_gives_the_others_a_while() -> None:
    clock = Clock()
    enough = Failures(clock=clock)
    assert not enough(PASSED)
    clock.now += 99
    assert not enough(failed("a"))
    clock.now += GRACE - 0.1
    assert not enough(PASSED)
    clock.now += 0.1
    assert enough(PASSED)


def test_so_many_are_enough_at_once() -> None:
    enough = Failures(clock=Clock())
    assert [enough(failed(f"t{n}")) for n in range(MOST_FAILURES)][-2:] == [False, True]


def test_what_says_nothing_of_the_patch_starts_no_clock() -> None:
    clock = Clock()
    enough = Failures({"known"}, clock=clock)
    for case in (
        failed("known"),
        failed("mended", message=f"{STRICT} an old fault"),
        failed("host", "infrastructure"),
    ):
        assert not enough(case)
        clock.now += 10 * GRACE
    assert not enough(PASSED)


def test_the_first_failure_that_counts_is_told_once() -> None:
    told: list[CaseResult] = []
    enough = Failures({"known"}, told.append, Clock())
    for case in (
        PASSED,
        failed("known"),
        failed("host", "infrastructure"),
        failed("a"),
        failed("b"),
    ):
        enough(case)
    assert told == [failed("a")]
