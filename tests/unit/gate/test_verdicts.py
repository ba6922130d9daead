# SPDX-License-Identifier: MIT
"""What failing tests come to, by what the base does here and now."""

from __future__ import annotations

from harness.gate.result import FindingKind, ResultChange, TestChange
from harness.gate.verdicts import findings
from harness.testrun.result import CaseResult

PASSES = CaseResult("", "passed")


def failing(test: str, said: str) -> CaseResult:
    return CaseResult(test, "failed", "product", said)


def kinds(*cases: CaseResult, now: dict[str, CaseResult]) -> dict[str, FindingKind]:
    changes = [TestChange(case, ResultChange.NEWLY_FAILS) for case in cases]
    stored = {case.test: PASSES for case in cases}
    return {item.test: item.kind for item in findings(changes, stored, now)}


def test_what_fails_as_one_does_that_the_base_fails_too_says_nothing_of_the_patch() -> None:
    a, b, c = failing("a", "0x10 is gone"), failing("b", "0x20 is gone"), failing("c", "else")
    assert kinds(a, b, c, now={"a": a}) == {
        "a": FindingKind.INFRASTRUCTURE,
        "b": FindingKind.INFRASTRUCTURE,
        "c": FindingKind.TEST,
    }
    assert kinds(a, b, now={"a": a, "b": PASSES})["b"] is FindingKind.TEST, "the base passes it"
    assert kinds(a, b, now={"a": PASSES}) == {"a": FindingKind.TEST}, "b is told with it"
