# SPDX-License-Identifier: MIT
"""How far the tasks of an engine are: a live line on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TextIO

from harness.engine.task import Engine, State
from harness.plaintext import clean, line

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 60.0
_NAMES = 3
"""Running tasks that are named."""


class Watch(Protocol):
    """What a command tells of its tasks."""

    def say(self, text: str) -> None:
        """One task's result, or another fact; results are counted by `done`."""

    def done(self, failed: bool) -> None:
        """Counts a result."""

    def look(self) -> None:
        """Shows how far it is."""


class Counter:
    """Done, failed, and the time that is left."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.finished = 0
        self.failed = 0
        self._clock = clock
        self._begun = clock()

    def done(self, failed: bool) -> None:
        """Counts a result."""
        self.finished += 1
        self.failed += failed

    def text(self, state: State) -> str:
        """``5 of 20 done, 1 failed, 4 running (a, b, c and 1 more), about 3 min left``."""
        running = state.running
        named = ", ".join(line(name) for name in running[:_NAMES])
        more = f" and {len(running) - _NAMES} more" if len(running) > _NAMES else ""
        parts = [f"{self.finished} of {self.total} done"] if self.total else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{len(running)} running ({named}{more})"] if running else ["none running"]
        left = self.seconds_left()
        parts += [f"about {_duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """As it has gone so far; None while nothing is known."""
        if not self.finished or self.finished >= self.total:
            return None
        passed = self._clock() - self._begun
        return passed / self.finished * (self.total - self.finished)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class LineWatch:
    """For logs: how far it is, once a minute."""

    def __init__(
        self, engine: Engine, counter: Counter, stream: TextIO, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._counter = counter
        self._stream = stream
        self._clock = clock
        self._last = clock()

    def say(self, text: str) -> None:
        """See `Watch`."""
        print(clean(text), file=self._stream, flush=True)

    def done(self, failed: bool) -> None:
        """See `Watch`."""
        self._counter.done(failed)

    def look(self) -> None:
        """See `Watch`."""
        now = self._clock()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            self.say(self._counter.text(self._engine.state()))


class LiveWatch:
    """For a terminal: one line below the results, which stays up to date."""

    def __init__(self, engine: Engine, counter: Counter, console: Console) -> None:
        from rich.live import Live

        self._engine = engine
        self._counter = counter
        self._console = console
        self.live = Live(console=console, transient=True, refresh_per_second=4)

    def say(self, text: str) -> None:
        """See `Watch`."""
        self._console.print(clean(text), markup=False, highlight=False, soft_wrap=True)

    def done(self, failed: bool) -> None:
        """See `Watch`."""
        self._counter.done(failed)

    def look(self) -> None:
        """See `Watch`."""
        from rich.spinner import Spinner

        if isinstance(self.live.renderable, Spinner):
            self.live.renderable.update(text=self._text())
        else:
            self.live.update(Spinner("dots", text=self._text()))

    def _text(self) -> str:
        return self._counter.text(self._engine.state())


@contextlib.contextmanager
def watching(
    engine: Engine, total: int, stream: TextIO | None = None
) -> Iterator[LineWatch | LiveWatch]:
    """Shows how far `total` tasks are, until the block ends."""
    to = stream or sys.stdout
    counter = Counter(total)
    if not to.isatty():
        yield LineWatch(engine, counter, to, time.monotonic)
        return
    from rich.console import Console

    watch = LiveWatch(engine, counter, Console(file=to, highlight=False))
    with watch.live:
        yield watch
