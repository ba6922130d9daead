# SPDX-License-Identifier: MIT
from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.gate import canary as module
from harness.gate.canary import Canary
from harness.gate.options import CANARIES
from harness.imageset.model import ImageSet
from harness.testrun.result import CaseResult, SuiteResult
from harness.testrun.suite import Suite

PATIENCE = 10.0
TESTS = [f"tests/cma/test_x.py::test_{number}" for number in range(5)]


class Runs:
    """Runs of tests on the base."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.lost = False

    def __call__(
        self, suite: Suite, images: ImageSet, place: Path, targets: Sequence[str]
    ) -> SuiteResult:
        self.asked.append(list(targets))
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        if self.lost:
            return SuiteResult(3, (), 1.0, place / "log")
        cases = tuple(CaseResult(test, "passed") for test in targets)
        return SuiteResult(0, cases, 1.0, place / "log")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(module, "run_suite", made)
    return made


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    (tmp_path / "cache").mkdir()
    kernel = tmp_path / "zImage"
    return Canary(tmp_path / "cache", ImageSet(kernel, kernel), tmp_path / "out", lambda _: None)


def test_it_is_asked_beside_what_else_goes_on(runs: Runs, canary: Canary) -> None:
    runs.go_on.clear()
    with canary:
        canary.ask(TESTS[0])
        assert runs.begun.wait(PATIENCE), "it runs while we go on"
        runs.go_on.set()
        assert canary.results(TESTS).keys() == {TESTS[0]}
    assert runs.asked == [TESTS[:1]], "one of those that fail is enough"


def test_where_what_it_was_asked_fails_no_more_it_is_asked_of_others(
    runs: Runs, canary: Canary
) -> None:
    with canary:
        canary.ask(TESTS[0])
        canary.ask(TESTS[0])
        known = canary.results(TESTS[1:])
    assert runs.asked == [TESTS[:1], TESTS[1 : 1 + CANARIES]]
    assert known.keys() == set(TESTS[1 : 1 + CANARIES])


def test_nothing_fails_and_nothing_is_asked(runs: Runs, canary: Canary) -> None:
    with canary:
        assert canary.results([]) == {}
    assert runs.asked == []


def test_it_is_ended_where_the_gate_is(
    runs: Runs, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Suite] = []

    def end(suite: Suite) -> None:
        ended.append(suite)
        runs.lost = True
        runs.go_on.set()

    monkeypatch.setattr(Suite, "end", end)
    runs.go_on.clear()
    with pytest.raises(KeyboardInterrupt):
        interrupted(canary, runs)
    assert len(ended) == 1
    assert len(runs.asked) == 1, "it is not tried again"


def interrupted(canary: Canary, runs: Runs) -> None:
    with canary:
        canary.ask(TESTS[0])
        assert runs.begun.wait(PATIENCE)
        raise KeyboardInterrupt
