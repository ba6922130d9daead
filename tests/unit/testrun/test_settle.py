# SPDX-License-Identifier: MIT
"""What several runs of one test come to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import Verdict
from harness.testrun.result import CaseResult, SuiteResult
from harness.testrun.settle import ROUNDS, settled

WORDS = {"P": "", "F": "product", "T": "timeout", "C": "crash", "I": "infrastructure"}


def case(test: str, letter: str) -> CaseResult:
    if letter == "S":
        return CaseResult(test, "skipped")
    return CaseResult(
        test, "failed" if letter != "P" else "passed", WORDS[letter], f"says {letter}"
    )


def run_of(**letters: str) -> SuiteResult:
    cases = tuple(case(test, letter) for test, letter in letters.items())
    return SuiteResult(int(any(c.failed for c in cases)), cases, 1.0, Path("log"))


class Runs:
    """Gives each test its next result; one that has none left is lost."""

    def __init__(self, **given: str) -> None:
        self.given = {test: list(letters) for test, letters in given.items()}
        self.asked: list[list[str]] = []
        self.first = run_of(**{test: letters.pop(0) for test, letters in self.given.items()})

    def again(self, tests: Sequence[str]) -> SuiteResult:
        self.asked.append(list(tests))
        return run_of(**{t: self.given[t].pop(0) for t in tests if self.given[t]})

    def settled(self, **options: object) -> SuiteResult:
        return settled(self.first, self.again, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("letters", "verdict"),
    [
        ("P", ""),
        ("FF", "product"),
        ("TF", "timeout"),
        ("FPF", "product"),
        ("FIF", "product"),
        ("IFF", "product"),
        ("FIPF", "product"),
        ("IP", ""),
        ("IIP", ""),
        ("IS", ""),
        ("FPP", "infrastructure"),
        ("TPP", "infrastructure"),
        ("FIPP", "infrastructure"),
        ("FIII", "infrastructure"),
        ("IIII", "infrastructure"),
        ("IFIP", "infrastructure"),
        ("CC", "crash"),
        ("CPP", "infrastructure"),
    ],
)
def test_what_a_test_s_results_come_to(letters: str, verdict: str) -> None:
    runs = Runs(a=letters)
    run = runs.settled()
    assert run.cases[0].verdict == verdict
    assert run.status == int(bool(verdict))
    assert runs.given == {"a": []}, "no more runs than it takes"


def test_what_counts_at_once_is_not_run_again() -> None:
    runs = Runs(a="C")
    assert runs.settled(at_once=(Verdict.CRASH,)).cases[0].verdict == "crash"
    assert runs.asked == []


def test_only_what_is_not_known_is_run_again() -> None:
    runs = Runs(a="P", b="FF", c="IIP", d="FPF")
    run = runs.settled()
    assert runs.asked == [["b", "c", "d"], ["c", "d"]]
    assert [c.verdict for c in run.cases] == ["", "product", "", "product"]


def test_once_enough_is_known_the_rest_stays_as_it_was() -> None:
    runs = Runs(a="FF", b="FF", c="F")
    run = runs.settled(enough=2)
    assert len(runs.asked) == 1
    assert [c.verdict for c in run.cases] == ["product"] * 3


def same(one: CaseResult, other: CaseResult) -> bool:
    return one.message == other.message


def test_what_fails_as_a_confirmed_one_does_is_not_run_again() -> None:
    runs = Runs(a="FF", b="F", c="TT", d="IFF")
    run = runs.settled(alike=same)
    assert runs.asked == [["a", "b", "c", "d"], ["d"]], "one of a kind has to be confirmed first"
    assert [c.verdict for c in run.cases] == ["product", "product", "timeout", "product"]
    runs = Runs(a="FPF", b="FPF")
    runs.settled(alike=same)
    assert runs.asked == [["a", "b"], ["a", "b"]], "a pass is explained by nothing"


def test_what_is_excused_is_neither_run_again_nor_enough() -> None:
    runs = Runs(a="F", b="FF", c="FF")
    run = runs.settled(enough=1, excused={"a"})
    assert runs.asked == [["b", "c"]]
    assert [c.verdict for c in run.cases] == ["product"] * 3


def test_what_is_excused_and_was_lost_is_run_again() -> None:
    runs = Runs(a="IFF", b="P")
    run = runs.settled(enough=3, excused={"a"})
    assert runs.asked == [["a"], ["a"]]
    assert run.cases[0].verdict == "product"


def test_it_ends() -> None:
    runs = Runs(a="I" * 20)
    runs.settled()
    assert len(runs.asked) == ROUNDS


def test_a_run_that_ended_by_itself_keeps_its_status() -> None:
    first = SuiteResult(3, (case("a", "I"),), 1.0, Path("log"))
    assert settled(first, lambda tests: run_of(a="P")).status == 3
