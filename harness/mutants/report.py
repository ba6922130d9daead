# SPDX-License-Identifier: MIT
"""The table, the summary and the JSON of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.mutants.patchfile import Mutant
from harness.mutants.runner import GOOD, MutantStatus, Result
from harness.plaintext import counted

PASSED, FAILED, INFRASTRUCTURE = 0, 1, 3
RESULTS = "mutants.json"
"""Where the results are, as JSON, in the directory of a run; written after each mutant."""
_EXPLAINED = {
    MutantStatus.OTHER_KERNEL,
    MutantStatus.DOES_NOT_APPLY,
    MutantStatus.DOES_NOT_BUILD,
    MutantStatus.INFRASTRUCTURE,
    MutantStatus.UNSTABLE,
    MutantStatus.NO_TEST,
    MutantStatus.FALSE_ALARM,
}


class ResultTable:
    """Lines for a terminal, each when its result is there."""

    def __init__(self, mutants: Sequence[Mutant]) -> None:
        self._name = max([len(mutant.name) for mutant in mutants] + [6])
        self._status = max(len(status.value) for status in MutantStatus)

    def head(self) -> str:
        """The columns' titles; seconds are those of the build and of the tests."""
        return self._line("MUTANT", "BUILD", "TESTS", "VERDICT", "WHAT IT BREAKS")

    def line(self, result: Result) -> str:
        """One result, and below it the test that turned red, or what went wrong."""
        subject = result.mutant.subject
        if result.mutant.harmless:
            subject = f"nothing: {subject}"
        seconds = (f"{result.build_seconds:.1f}", f"{result.test_seconds:.1f}")
        line = self._line(result.mutant.name, *seconds, result.status.value, subject)
        more = []
        if result.chosen is not None:
            more.append(f"{counted(len(result.chosen.tests), 'test')} chosen: {result.chosen.why}")
        if result.test:
            more.append(f"{result.test} ({result.verdict})")
        if result.status in _EXPLAINED:
            more += result.message.splitlines()[:4]
        return "\n".join([line, *(f"    {text}" for text in more)])

    def _line(self, name: str, build: str, tests: str, status: str, what: str) -> str:
        return (
            f"{name:<{self._name}}  {build:>5}  {tests:>5}  {status:<{self._status}}  {what}"
        ).rstrip()


def summary(results: Sequence[Result]) -> str:
    """``N of M mutants caught, K of L harmless passed``."""
    counted = [result for result in results if result.status is not MutantStatus.OTHER_KERNEL]
    mutants = [result for result in counted if not result.mutant.harmless]
    harmless = [result for result in counted if result.mutant.harmless]
    caught = sum(result.status in GOOD for result in mutants)
    passed = sum(result.status in GOOD for result in harmless)
    text = f"{caught} of {len(mutants)} mutants caught, {passed} of {len(harmless)} harmless passed"
    elsewhere = sum(result.status is MutantStatus.ELSEWHERE for result in mutants)
    return f"{text} ({elsewhere} caught by another test than named)" if elsewhere else text


def exit_status(results: Sequence[Result]) -> int:
    """0 if all is as it should be, 3 where something is not known, else 1."""
    unknown = (MutantStatus.INFRASTRUCTURE, MutantStatus.UNSTABLE)
    if any(result.status in unknown for result in results):
        return INFRASTRUCTURE
    return PASSED if all(result.status in GOOD for result in results) else FAILED


def as_json(results: Sequence[Result], **run: Any) -> Mapping[str, Any]:
    """The run as data for JSON."""
    return {
        **run,
        "summary": summary(results),
        "mutants": [
            {
                "name": result.mutant.name,
                "subject": result.mutant.subject,
                "kind": "harmless" if result.mutant.harmless else "mutant",
                "status": result.status.value,
                "test": result.test,
                "verdict": result.verdict,
                "message": result.message,
                "build_seconds": result.build_seconds,
                "test_seconds": result.test_seconds,
                "chosen": len(result.chosen.tests) if result.chosen else None,
                "why_chosen": result.chosen.why if result.chosen else "",
            }
            for result in sorted(results, key=lambda result: result.mutant.name)
        ],
    }
