# SPDX-License-Identifier: MIT
"""Progress in a log and on a terminal."""

from __future__ import annotations

import io
import re
import threading

import pytest

from harness.host.progress import BarProgress, LazyProgress, LineProgress, Quiet, waiting


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, every=10, clock=clock)
    with progress.steps("kernel 6.1", 100) as advance:
        for done in range(1, 101):
            clock.now += 0.3
            advance(done)
    assert stream.getvalue().splitlines() == [
        "kernel 6.1: 34 of 100 steps, 10 s",
        "kernel 6.1: 68 of 100 steps, 20 s",
        "kernel 6.1: done in 30 s",
    ]


def test_more_steps_than_known() -> None:
    stream, clock = io.StringIO(), Clock()
    with LineProgress(stream, every=0, clock=clock).steps("x", 5) as advance:
        advance(6)
    assert "6 of 6 steps" in stream.getvalue()


def test_a_failure_is_not_called_done() -> None:
    stream = io.StringIO()
    try:
        with LineProgress(stream).steps("x", 5):
            raise ValueError
    except ValueError:
        pass
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_words_as_they_are() -> None:
    stream = Terminal()
    progress = LazyProgress(stream)
    progress.say("[bold]0001.patch: applied")
    with progress.steps("kernel 6.1", 10) as advance:
        advance(3)
        advance(11)
    text = stream.getvalue()
    assert "[bold]0001.patch: applied" in text
    assert "11/11" in text
    assert "kernel 6.1: done in 0 s" in text
    assert isinstance(progress._progress(), BarProgress)


def test_no_terminal_gets_lines() -> None:
    progress = LazyProgress(io.StringIO())
    progress.say("x")
    assert isinstance(progress._progress(), LineProgress)


def test_colours_are_for_terminals_and_for_those_who_want_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown(stream: io.StringIO) -> str:
        with LazyProgress(stream).steps("kernel", 2) as advance:
            advance(1)
        return stream.getvalue()

    colour = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in shown(io.StringIO())
    assert colour.search(shown(Terminal()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", shown(Terminal()))


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "wanted", True)
    for stream in (io.StringIO(), Terminal()):
        progress = LazyProgress(stream)
        progress.say("a fact")
        with progress.steps("kernel", 2) as advance:
            advance(1)
        assert stream.getvalue() == ""


def test_a_wait_is_told_where_it_is_long_and_only_then() -> None:
    class Told(io.StringIO):
        ready = threading.Event()

        def flush(self) -> None:
            self.ready.set()

    stream = Told()
    with waiting("booting", stream, patience=0):
        assert stream.ready.wait(20)
    assert stream.getvalue() == "booting ...\n"
    short = io.StringIO()
    with waiting("booting", short, patience=3600):
        pass
    assert short.getvalue() == ""
