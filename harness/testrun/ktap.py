# SPDX-License-Identifier: MIT
"""A run's results as KTAP: a test for each file, and one within it for each of its tests."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import Verdict
from harness.ktap import KtapOutcome, KtapTest, render_ktap
from harness.plaintext import line, lines
from harness.testrun.result import CaseResult

_FAILED = {
    Verdict.TIMEOUT.value: KtapOutcome.TIMEOUT,
    Verdict.INFRASTRUCTURE.value: KtapOutcome.ERROR,
}
_OUTCOMES = {
    "passed": KtapOutcome.PASS,
    "skipped": KtapOutcome.SKIP,
    "xfailed": KtapOutcome.XFAIL,
}


def render(cases: Iterable[CaseResult]) -> str:
    """The results, in the order in which they are given, as one KTAP document.

    What infrastructure made fail is ``# ERROR``, a test without an answer ``# TIMEOUT``.
    """
    files: dict[str, list[KtapTest]] = {}
    for case in cases:
        file, _, name = case.test.partition("::")
        files.setdefault(file, []).append(_test(name or file, case))
    return render_ktap([_file(file, tests) for file, tests in files.items()])


def _test(name: str, case: CaseResult) -> KtapTest:
    outcome = _OUTCOMES.get(case.outcome) or _FAILED.get(case.verdict, KtapOutcome.FAIL)
    said: list[str] = []
    if case.failed:
        said = [*([f"verdict: {case.verdict}"] if case.verdict else []), *lines(case.message)]
    if case.artifact is not None:
        said.append(f"transcript: {case.artifact}")
    reason = "" if case.failed or outcome is KtapOutcome.PASS else line(case.message, 200)
    return KtapTest(name, outcome, reason=reason, diagnostics=tuple(said))


def _file(file: str, tests: list[KtapTest]) -> KtapTest:
    if any(test.outcome.failed for test in tests):
        outcome = KtapOutcome.FAIL
    elif all(test.outcome is KtapOutcome.SKIP for test in tests):
        outcome = KtapOutcome.SKIP
    else:
        outcome = KtapOutcome.PASS
    return KtapTest(file, outcome, children=tuple(tests))
