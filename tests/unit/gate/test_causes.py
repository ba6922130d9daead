# SPDX-License-Identifier: MIT
"""Failing tests by their cause."""

from __future__ import annotations

import pytest

from harness.gate.causes import alike, by_cause
from harness.gate.report import facts
from harness.gate.result import Finding, FindingKind
from harness.testrun.result import CaseResult

KIND = FindingKind.TEST


def failing(test: str, said: str, steps: int, line: str = "", kind: FindingKind = KIND) -> Finding:
    return Finding(kind, test, said, test=test, line=line, story=("step",) * steps)


def test_tests_that_say_the_same_but_for_numbers_have_one_cause() -> None:
    found = by_cause(
        [
            failing("a", "address 0x69801000 is not 0x69800000\nmore", 9),
            failing("b", "address 0x69c01000 is not 0x69c00000\nother", 3),
            failing("c", "it refused", 5),
        ]
    )
    assert [(item.test, item.alike) for item in found] == [("b", ("a",)), ("c", ())]
    assert facts.alike_line(found[0]) == "1 more test that fails like it: a"


def test_tests_that_fail_at_one_line_have_one_cause() -> None:
    at = "tests/cma/test_x.py:7: check(guest)"
    found = by_cause([failing("a", "x", 2, at), failing("b", "y", 1, at), failing("c", "z", 0)])
    assert [(item.test, item.alike) for item in found] == [("b", ("a",)), ("c", ())]


def test_what_links_two_groups_makes_them_one() -> None:
    at = "tests/cma/test_x.py:7: check(guest)"
    found = by_cause([failing("a", "x", 3, at), failing("b", "y", 2), failing("c", "y", 1, at)])
    assert [(item.test, item.alike) for item in found] == [("c", ("b", "a"))]


def test_a_crash_and_a_wrong_answer_are_two_causes() -> None:
    found = by_cause([failing("a", "x", 1), failing("b", "x", 1, kind=FindingKind.CRASH)])
    assert [item.alike for item in found] == [(), ()]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (CaseResult("b", "failed", "product", "at 0x69c01000 is\nmore"), True),
        (CaseResult("b", "failed", "product", "else", line="x.py:7: check"), True),
        (CaseResult("b", "failed", "product", "else"), False),
        (CaseResult("b", "failed", "crash", "at 0x69801000 is", line="x.py:7: check"), False),
    ],
)
def test_results_have_one_cause_as_findings_have(other: CaseResult, expected: bool) -> None:
    one = CaseResult("a", "failed", "product", "at 0x69801000 is", line="x.py:7: check")
    assert alike(one, other) is expected


def test_results_that_say_nothing_have_no_cause_in_common() -> None:
    assert not alike(CaseResult("a", "failed", "product"), CaseResult("b", "failed", "product"))
