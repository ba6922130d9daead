# SPDX-License-Identifier: MIT
"""What a person sees: lines in a pipe, and a picture that fits into 80 by 24."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from harness.testrun.result import CaseResult
from harness.watch import story
from harness.watch.events import Event, Outcome, Stage
from harness.watch.screen import HELP, Lines, drawn
from harness.watch.state import Shown

MESSAGE = """\
WrongArea (product): 0x69100000-0x691fffff is in linux,cma, expected BiscuitOS_cma
0x60000000-0x7fffffff    512 MiB  RAM (/proc/iomem)
------------------------------------ guest -------------------------------------
verdict: product
"""
FAILED = Event(
    2,
    Stage.DONE,
    "WrongArea (product): 0x69100000",
    done=3,
    total=10,
    failed=1,
    outcome=Outcome.FAILED,
    test="tests/cma/test_main_job.py::TestModule::test_insmod",
    story=("0x60000000-0x7fffffff RAM", "\x1b[31mit lies\x1b[0m " + "x" * 200),
    files=("mm/cma.c", "mm/cma.h", "include/linux/cma.h", "mm/Makefile"),
    images="i.json",
    report="/tmp/log",
)


def run(*events: Event) -> Shown:
    shown = Shown("linux at 1234").ordered(2, 100.0)
    for number, event in enumerate(events):
        shown = shown.told(event, 101.0 + number)
    return shown


STATES = {
    "nothing yet": Shown("linux"),
    "ordered": Shown("linux").ordered(1, 0.0),
    "building": run(Event(2, Stage.READ), Event(2, Stage.BUILD, "building mm/cma.o")),
    "testing": run(Event(2, Stage.BUILD), Event(2, Stage.TEST, "x: passed", 3, 10, 1)),
    "failed": run(Event(2, Stage.BUILD), Event(2, Stage.TEST), FAILED),
}


def text(shown: Shown, width: int = 80, height: int = 24) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, color_system=None)
    console.print(drawn(shown, 105.0, width, height))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (200, 60)])
@pytest.mark.parametrize("name", STATES)
def test_the_picture_fits_and_ends_with_the_keys(name: str, size: tuple[int, int]) -> None:
    rows = text(STATES[name], *size)
    assert len(rows) == size[1]
    assert all(len(row) <= size[0] for row in rows)
    assert rows[-1].strip() == HELP[: size[0]].strip()


def test_a_failure_is_told_with_its_test_and_why() -> None:
    rows = "\n".join(text(STATES["failed"]))
    assert "FAIL  3.0 s" in rows
    assert "TestModule::test_insmod (test_main_job.py)" in rows
    assert "WrongArea (product)" in rows
    assert "3/10, 1 failed" in rows
    assert "\x1b" not in rows, "what a kernel prints does not move the cursor"


def test_a_pipe_gets_plain_lines_and_none_twice() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for name in ("nothing yet", "ordered", "building", "building", "testing", "failed"):
        lines.show(STATES[name], 105.0)
    said = stream.getvalue().splitlines()
    assert len(said) > 5, "the verdict has several lines"
    for later in range(3):
        lines.show(STATES["failed"], 106.0 + later)
    assert stream.getvalue().splitlines() == said
    assert said[:4] == [
        "watching linux",
        "run 1: saved",
        "run 2: building",
        "run 2: 3 of 10 tests, 1 failed",
    ]
    assert said[4] == "run 2: FAIL in 3.0 s (mm/cma.c, mm/cma.h, include/linux/cma.h, …)"
    assert "\x1b" not in stream.getvalue()


def test_the_story_is_what_the_test_says_and_no_log() -> None:
    case = CaseResult("t", "failed", "product", MESSAGE)
    assert story.of_case(case) == tuple(MESSAGE.splitlines()[:2])
    lost = CaseResult("u", "failed", "infrastructure", "")
    assert story.first([lost, case]) is case
    assert story.first([lost]) is lost
    assert story.of_case(lost) == ("infrastructure: no more is known",)
    assert story.of_text("making failed\nmm/cma.c:1: error\nlog: /x") == (
        "making failed",
        "mm/cma.c:1: error",
    )


def test_names_of_files_and_of_the_tree_reach_the_terminal_cleaned() -> None:
    hostile = dataclasses.replace(
        FAILED, files=("mm/\x1b[2Ja.c", "b\u202ec"), report="/\x1b]0;x\x07"
    )
    shown = Shown("linux \x1b]0;title\x07").ordered(2, 100.0).told(hostile, 101.0)
    drawn_text = "\n".join(text(shown, 80, 24))
    assert all(bad not in drawn_text for bad in ("\x1b", "\x07", "\u202e"))
