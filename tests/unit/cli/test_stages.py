# SPDX-License-Identifier: MIT
"""What a gate shows of its stages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import pytest

from harness.cli import stages
from harness.cli.stages import Stages, _Lines, shown, told
from harness.gate.events import CaseDone, Chosen, StageBegun, StageDone
from harness.gate.result import Stage
from harness.gate.selection import Selection
from harness.host.progress import LineProgress, Quiet
from harness.testrun.result import CaseResult

CHOSEN = Chosen(Selection(("a", "b", "c"), "2 tests execute what it changes (cma_alloc)"))
GOOD, BAD = CaseResult("a", "passed"), CaseResult("b", "failed", "product", "no\nmore")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_says_how_far_the_tests_are() -> None:
    clock = Clock()
    now = Stages(clock)
    assert now.text() == ""
    now(StageBegun("build"))
    clock.now = 4.4
    assert now.text() == "build: 4 s"
    now(StageDone(Stage("build", 4.4)))
    assert now.text() == ""
    now(CHOSEN)
    now(StageBegun("suite"))
    for case in (GOOD, BAD):
        now(CaseDone(case))
    assert now.text() == "suite: 2 of 3 tests, 1 failing, 0 s"
    for _ in range(2):
        now(CaseDone(GOOD))
    assert now.text() == "suite: 4 tests, 1 failing, 0 s", "some ran again"


def test_what_is_certain_stays() -> None:
    assert told(CHOSEN) == "tests: 3 tests: 2 tests execute what it changes (cma_alloc)"
    assert told(StageDone(Stage("build", 4.4))) == "build: 4.4 s"
    assert told(StageDone(Stage("apply", 0.01))) == ""
    assert told(CaseDone(BAD)) == "failed: b: no more"
    assert told(CaseDone(GOOD)) == told(StageBegun("build")) == ""


def test_a_log_gets_a_line_now_and_then() -> None:
    clock, out = Clock(), io.StringIO()
    lines = _Lines(LineProgress(out), clock)
    lines(StageBegun("suite"))
    for seconds in range(40):
        clock.now = float(seconds)
        lines(CaseDone(GOOD))
    lines(StageDone(Stage("suite", 39.0)))
    assert out.getvalue().splitlines() == [
        "suite: 16 tests, 15 s",
        "suite: 31 tests, 30 s",
        "suite: 39.0 s",
    ]


def test_where_there_is_no_terminal_lines_are_plain() -> None:
    out = io.StringIO()
    with shown(out) as (progress, watch):
        progress.say("here")
        watch(StageDone(Stage("build", 4.4)))
    assert out.getvalue() == "here\nbuild: 4.4 s\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_line_is_live_and_gone_at_the_end() -> None:
    out = Terminal()
    with shown(out) as (progress, watch):
        watch(StageBegun("boot"))
        progress.say("between")
        watch(StageDone(Stage("boot", 2.0)))
    text = out.getvalue()
    assert "between" in text
    assert "boot: 2.0 s" in text
    assert text.endswith("\n") or "\x1b[2K" in text.rpartition("boot: 2.0 s")[2]


def test_a_log_is_told_of_each_stage_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    @contextlib.contextmanager
    def waiting(what: str, stream: object) -> Iterator[None]:
        said.append(f"waits for {what}")
        yield
        said.append(f"has {what}")

    monkeypatch.setattr(stages, "waiting", waiting)
    lines = _Lines(LineProgress(io.StringIO()))
    lines(StageBegun("build"))
    lines(StageDone(Stage("build", 4.4)))
    lines(StageBegun("boot"))
    assert said == ["waits for build", "has build", "waits for boot"]


def test_quiet_is_quiet_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(Quiet, "wanted", True)
    out = Terminal()
    with shown(out) as (progress, watch):
        progress.say("here")
        watch(StageDone(Stage("build", 4.4)))
    assert out.getvalue() == ""
