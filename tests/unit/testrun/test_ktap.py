# SPDX-License-Identifier: MIT
"""A run's results as KTAP."""

from __future__ import annotations

from pathlib import Path

from harness.ktap import KtapOutcome, parse_ktap
from harness.testrun.ktap import render
from harness.testrun.result import CaseResult

X, Y = "tests/cma/test_x.py", "tests/cma/test_y.py"
CASES = (
    CaseResult(f"{X}::TestA::test_good[p]", "passed"),
    CaseResult(
        f"{X}::test_bad", "failed", "product", "0x1 is not 0x2\nnot ok 1 x", 1.0, Path("t.txt")
    ),
    CaseResult(f"{Y}::test_skipped", "skipped", "", "has no debugfs"),
    CaseResult(f"{X}::test_known", "xfailed", "", "6.12 dies of it"),
    CaseResult(f"{X}::test_lost", "failed", "infrastructure", "QEMU died"),
    CaseResult(f"{X}::test_late", "failed", "timeout", "no answer"),
)


def test_each_file_is_a_test_with_its_tests() -> None:
    report = parse_ktap(render(CASES))
    found = {" ".join(case.path): case.test.outcome for case in report.cases()}
    assert found == {
        f"{X} TestA::test_good[p]": KtapOutcome.PASS,
        f"{X} test_bad": KtapOutcome.FAIL,
        f"{X} test_known": KtapOutcome.XFAIL,
        f"{X} test_lost": KtapOutcome.ERROR,
        f"{X} test_late": KtapOutcome.TIMEOUT,
        f"{Y} test_skipped": KtapOutcome.SKIP,
    }
    assert [test.outcome for test in report.tests] == [KtapOutcome.FAIL, KtapOutcome.SKIP]
    bad = report.tests[0].children[1]
    assert "| verdict: product" in bad.diagnostics
    assert "| transcript: t.txt" in bad.diagnostics


def test_no_results_are_an_empty_plan() -> None:
    assert "1..0" in render([])
