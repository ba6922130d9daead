# SPDX-License-Identifier: MIT
"""A gate's stages while they run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from harness.gate.events import CaseDone, Chosen, Event, StageBegun, StageDone, Watch
from harness.host.progress import BarProgress, LineProgress, Progress, Quiet, waiting
from harness.plaintext import counted, line

LINE_SECONDS = 15.0
"""Between two plain lines on one stage."""
_LIVE_SECONDS = 0.5
_BUILDS = {"base"}
"""Stages whose builds have a live line of their own."""


class Stages:
    """What is going on, as one line of text. An object of this class is a `Watch`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self.name = ""
        self._tests = 0
        self._done = 0
        self._failed = 0

    def __call__(self, event: Event) -> None:
        """Takes an event of the gate."""
        if isinstance(event, StageBegun):
            self.name, self._begun = event.name, self._clock()
            self._done = self._failed = 0
        elif isinstance(event, Chosen):
            self._tests = len(event.selection.tests)
            self._done = self._failed = 0
        elif isinstance(event, CaseDone):
            self._done += 1
            self._failed += event.case.failed
        else:
            self.name = ""

    def text(self) -> str:
        """``suite: 12 of 30 tests, 1 failing, 14 s``; empty between two stages."""
        if not self.name:
            return ""
        parts = []
        if self._done:
            known = self.name == "suite" and self._done <= self._tests
            of = f" of {self._tests}" if known else ""
            parts.append(f"{self._done}{of} tests")
        parts += [f"{self._failed} failing"] if self._failed else []
        return f"{self.name}: {', '.join([*parts, f'{self._clock() - self._begun:.0f} s'])}"


def told(event: Event) -> str:
    """A line on what is now certain; empty for none."""
    if isinstance(event, Chosen):
        return f"tests: {counted(len(event.selection.tests), 'test')}: {event.selection.why}"
    if isinstance(event, StageDone) and event.stage.seconds >= 0.05:
        return f"{event.stage.name}: {event.stage.seconds:.1f} s"
    if isinstance(event, CaseDone) and event.case.failed:
        return f"failed: {event.case.test}: {line(event.case.message, 160)}"
    return ""


@contextlib.contextmanager
def shown(stream: TextIO | None = None) -> Iterator[tuple[Progress, Watch]]:
    """Where builds report to, and a `Watch` that shows a gate's stages, until the block ends."""
    out = stream or sys.stderr
    progress: Progress
    if out.isatty() and not Quiet.wanted:
        progress = bar = BarProgress(out)
        with _Live(bar) as live:
            yield progress, live
    else:
        progress = LineProgress(out)
        yield progress, _Lines(progress, stream=out)


class _Lines:
    """Plain lines: what is certain, and how far it is now and then."""

    def __init__(
        self,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self._progress = progress
        self._stream = stream
        self._stages = Stages(clock)
        self._clock = clock
        self._last = clock()
        self._waits = contextlib.ExitStack()

    def __call__(self, event: Event) -> None:
        """Takes an event of the gate."""
        self._stages(event)
        if isinstance(event, StageBegun | StageDone):
            self._waits.close()
        if isinstance(event, StageBegun):
            self._waits.enter_context(waiting(event.name, self._stream))
        text = told(event)
        if not text and self._clock() - self._last >= LINE_SECONDS:
            text = self._stages.text()
        if text:
            self._last = self._clock()
            self._progress.say(text)


class _Live:
    """A line that is rewritten, below the lines that stay."""

    def __init__(self, bar: BarProgress) -> None:
        from rich.status import Status

        self._bar = bar
        self._stages = Stages()
        self._status = Status("", console=bar.console)
        self._lock = threading.Lock()
        self._shown = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Live:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._show("")

    def __call__(self, event: Event) -> None:
        """Takes an event of the gate."""
        self._stages(event)
        if text := told(event):
            self._bar.say(text)
        self._show("" if self._stages.name in _BUILDS else self._stages.text())

    def _run(self) -> None:
        while not self._ended.wait(_LIVE_SECONDS):
            if self._shown:
                self._show(self._stages.text())

    def _show(self, text: str) -> None:
        with self._lock:
            if text and not self._ended.is_set():
                self._status.update(text)
                self._status.start()
                self._shown = True
            elif self._shown:
                self._status.stop()
                self._shown = False
