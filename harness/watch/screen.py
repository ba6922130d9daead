# SPDX-License-Identifier: MIT
"""The two looks of ``harness watch``: a live screen on a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from harness.plaintext import clean
from harness.watch.events import Event, Outcome, Stage
from harness.watch.state import STAGES, Shown

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

HELP = "r again  a all tests  s shell  g gdb  o report  q quit"
WORDS = {
    Outcome.PASSED: ("PASS", "bold green"),
    Outcome.FAILED: ("FAIL", "bold red"),
    Outcome.NO_BUILD: ("DOES NOT BUILD", "bold red"),
    Outcome.NOTHING: ("NOTHING TO JUDGE", "yellow"),
    Outcome.UNKNOWN: ("INFRASTRUCTURE", "bold yellow"),
    Outcome.CANCELLED: ("CANCELLED", "yellow"),
}
_NAMES = {Stage.READ: "read", Stage.BUILD: "build", Stage.TEST: "test"}


class Screen(Protocol):
    """Where the user looks."""

    def show(self, shown: Shown, now: float) -> None:
        """Shows the state."""

    def pause(self) -> None:
        """Leaves the terminal to another program."""

    def resume(self) -> None:
        """Takes it back."""


def test_name(test: str) -> str:
    """A test's name as it fits into a line."""
    file, _, rest = test.partition("::")
    return f"{rest} ({file.rpartition('/')[2]})" if rest else test


class Lines:
    """For a pipe or a log: one line for each thing that happened, nothing drawn over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[str, ...] = ()
        self._note = ""

    def show(self, shown: Shown, now: float) -> None:
        """Writes what is new."""
        event = shown.event
        if event is None:
            self._say(f"run {shown.run}: saved" if shown.run else f"watching {shown.tree}")
        elif shown.outcome is None:
            self._say(f"run {event.run}: {_doing(event)}")
        else:
            self._say(*verdict(shown, now))
        if shown.note != self._note:
            self._note = shown.note
            self._print(shown.note)

    def pause(self) -> None:
        """Nothing is drawn."""

    def resume(self) -> None:
        """Nothing is drawn."""

    def _say(self, *rows: str) -> None:
        """Says what belongs together, once: the state is shown twice a second."""
        if rows != self._last:
            self._last = rows
            self._print(*rows)

    def _print(self, *rows: str) -> None:
        for row in rows:
            if row:
                print(clean(row), file=self._stream, flush=True)


def _doing(event: Event) -> str:
    if event.stage is Stage.TEST and event.total:
        return f"{event.done} of {event.total} tests, {event.failed} failed"
    if event.stage is Stage.TEST:
        return f"{event.done} tests, {event.failed} failed"
    return "building" if event.stage is Stage.BUILD else event.text


def verdict(shown: Shown, now: float) -> list[str]:
    """How a run ended, the verdict first."""
    event = shown.event
    assert event is not None
    assert shown.outcome is not None
    word = WORDS[shown.outcome][0]
    files = ", ".join(event.files[:3]) + (", …" if len(event.files) > 3 else "")
    rows = [f"run {event.run}: {word} in {shown.total(now):.1f} s ({files or 'no file'})"]
    if event.test:
        rows.append(f"  {test_name(event.test)}")
    rows += [f"  {row}" for row in (event.text, *event.story) if row]
    return rows


class Live:
    """The whole terminal, drawn anew at each event and each second."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(file=stream, highlight=False)
        self._make: Callable[[], RichLive] = lambda: RichLive(
            console=self._console, screen=True, auto_refresh=False, transient=True
        )
        self._live = self._make()

    def show(self, shown: Shown, now: float) -> None:
        """Draws the state."""
        if not self._live.is_started:
            self.resume()
        width, height = self._console.size
        self._live.update(drawn(shown, now, width, height), refresh=True)

    def pause(self) -> None:
        """Gives the terminal back."""
        self._live.stop()

    def resume(self) -> None:
        """Takes the terminal."""
        if not self._live.is_started:
            self._live = self._make()
            self._live.start()


def drawn(shown: Shown, now: float, width: int, height: int) -> Group:
    """The picture of a state, for a terminal of this size."""
    from rich.console import Group
    from rich.text import Text

    rows = [Text(clean(f"harness watch  {shown.tree}")[:width], style="bold")]
    event = shown.event
    files = event.files if event else ()
    rows.append(Text(clean("changed: " + ", ".join(files))[:width] if files else ""))
    rows.append(_stages(shown, now))
    rows.append(Text())
    if event is not None and shown.outcome is not None:
        word, style = WORDS[shown.outcome]
        rows.append(Text(f"{word}  {shown.total(now):.1f} s", style=style))
        rows += [
            Text(clean(row)) for row in (test_name(event.test), event.text, *event.story) if row
        ]
        if event.report:
            rows += [Text(), Text(clean(f"log: {event.report}"), style="dim")]
    elif shown.running:
        doing = event.text if event else "waiting for the run before to end"
        rows.append(Text(f"{clean(doing)}  {shown.total(now):.0f} s"))
    else:
        rows.append(Text("waiting for a file to be saved"))
    lines: list[Text] = []
    from rich.console import Console

    measure = Console(width=width, height=height, color_system=None)
    for row in rows:
        lines += row.wrap(measure, width) or [Text()]
    room = max(height - 2, 1)
    lines = lines[:room] + [Text()] * (room - len(lines))
    note = Text(clean(shown.note)[:width], style="yellow")
    return Group(*lines, note, Text(HELP[:width], style="reverse", end=""))


def _stages(shown: Shown, now: float) -> Text:
    from rich.text import Text

    row = Text()
    for stage in STAGES:
        seconds = shown.seconds(stage, now)
        active = shown.running and shown.times and shown.times[-1][0] is stage
        style = "bold cyan" if active else ("green" if seconds is not None else "dim")
        row.append(_NAMES[stage], style)
        if seconds is not None:
            row.append(f" {seconds:.1f} s")
        event = shown.event
        if stage is Stage.TEST and event is not None and (event.done or event.total):
            of = f"/{event.total}" if event.total else ""
            row.append(f" {event.done}{of}, {event.failed} failed")
        row.append("   ")
    return row
