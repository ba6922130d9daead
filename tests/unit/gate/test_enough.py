# SPDX-License-Identifier: MIT
"""When a suite has failed enough."""

from __future__ import annotations

from harness.gate.enough import Failures
from harness.gate.options import MOST_FAILURES
from harness.testrun.result import STRICT, CaseResult

PASSED = CaseResult("good", "passed")


def failed(test: str, verdict: str = "product", message: str = "") -> CaseResult:
    return CaseResult(test, "failed", verdict, message)


def test_the_first_failure_that_counts_is_enough() -> None:
    enough = Failures({"known"})
    assert [enough(case) for case in (PASSED, failed("known"), failed("a"), PASSED)] == [
        False,
        False,
        True,
        True,
    ]


def test_so_many_that_say_nothing_are_enough() -> None:
    enough = Failures()
    many = [enough(failed(f"t{n}", "infrastructure")) for n in range(MOST_FAILURES)]
    assert many[-2:] == [False, True]


def test_what_says_nothing_of_the_patch_ends_nothing() -> None:
    enough = Failures({"known"})
    for case in (
        failed("known"),
        failed("mended", message=f"{STRICT} an old fault"),
        failed("host", "infrastructure"),
    ):
        assert not enough(case)
    assert not enough(PASSED)


def test_the_first_failure_that_counts_is_told_once() -> None:
    told: list[CaseResult] = []
    enough = Failures({"known"}, told.append)
    for case in (
        PASSED,
        failed("known"),
        failed("host", "infrastructure"),
        failed("a"),
        failed("b"),
    ):
        enough(case)
    assert told == [failed("a")]
