# SPDX-License-Identifier: MIT
"""What a build tells the user: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TextIO

from harness.plaintext import clean, line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Advance = Callable[[int], None]
LINE_SECONDS = 10.0
PATIENCE = 2.0
"""Seconds for which nobody wonders what is being done."""


class Quiet:
    """Whether this process says results and errors only (``--quiet``)."""

    wanted = False


class Progress(Protocol):
    """Where a build reports to."""

    def say(self, text: str) -> None:
        """One fact, as a line."""

    def steps(self, title: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """A long step: call what it yields with the number of steps done so far."""


class LineProgress:
    """Plain lines, at most one in `every` seconds for a long step: for logs."""

    def __init__(
        self,
        stream: TextIO | None = None,
        every: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock

    def say(self, text: str) -> None:
        """Writes `text`."""
        if not Quiet.wanted:
            print(clean(text), file=self._stream or sys.stderr, flush=True)

    @contextlib.contextmanager
    def steps(self, title: str, total: int) -> Iterator[Advance]:
        """Writes how far it is, and at the end how long it took."""
        begun = self._clock()
        last = begun

        def advance(done: int) -> None:
            nonlocal last
            now = self._clock()
            if now - last >= self._every:
                last = now
                # More steps than known of: the estimate was wrong, not the build.
                self.say(f"{title}: {done} of {max(total, done)} steps, {now - begun:.0f} s")

        yield advance
        self.say(f"{title}: done in {self._clock() - begun:.0f} s")


class BarProgress:
    """A bar on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console

        self.console = Console(file=stream or sys.stderr, highlight=False)

    def say(self, text: str) -> None:
        """Writes `text`."""
        self.console.print(clean(text), markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def steps(self, title: str, total: int) -> Iterator[Advance]:
        """Shows a bar with steps done of steps known and the time."""
        begun = time.monotonic()
        with self._bar() as bar:
            task = bar.add_task(line(title), total=total)

            def advance(done: int) -> None:
                bar.update(task, completed=done, total=max(total, done))

            yield advance
        self.say(f"{title}: done in {time.monotonic() - begun:.0f} s")

    def _bar(self) -> RichProgress:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
        )
        return Progress(*columns, console=self.console, transient=True)


@contextlib.contextmanager
def waiting(what: str, stream: TextIO | None = None, patience: float = PATIENCE) -> Iterator[None]:
    """Says `what` is being done where the block takes longer than `patience` seconds."""
    late = threading.Timer(patience, LineProgress(stream).say, [f"{what} ..."])
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


class LazyProgress:
    """Chooses bar or lines at the first message: a run that builds nothing loads neither."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._real: Progress | None = None

    def _progress(self) -> Progress:
        if self._real is None:
            stream = self._stream or sys.stderr
            bar = stream.isatty() and not Quiet.wanted
            self._real = BarProgress(stream) if bar else LineProgress(stream)
        return self._real

    def say(self, text: str) -> None:
        """See `Progress`."""
        self._progress().say(text)

    def steps(self, title: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """See `Progress`."""
        return self._progress().steps(title, total)
