# SPDX-License-Identifier: MIT
"""The loop of ``harness watch``: saves, keys, the worker's events in, pictures and orders out."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from harness.errors import HarnessError
from harness.watch.events import Event, Outcome, Stage
from harness.watch.keys import Keys
from harness.watch.saves import follow
from harness.watch.screen import Screen
from harness.watch.state import Shown

REDRAW = 0.5
"""Seconds between two pictures while nothing happens: the clock runs."""


class WorkerLike(Protocol):
    """What the loop needs of `harness.watch.process.WorkerProcess`."""

    def order(self, run: int, *, all_tests: bool = False) -> None:
        """Asks for a run."""

    def cancel(self) -> None:
        """Ends the one that is under way."""


class Tools(Protocol):
    """Programs that take the terminal for a while, for a failing test."""

    def shell(self, event: Event, *, gdb: bool) -> None:
        """The machine as the test left it."""

    def report(self, event: Event) -> None:
        """What is known of the run."""


class App:
    """The loop. What happens is put into it by `saved`, `told`, `pressed`, from any thread."""

    def __init__(
        self,
        tree: str,
        screen: Screen,
        worker: WorkerLike,
        tools: Tools,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shown = Shown(tree)
        self._screen = screen
        self._worker = worker
        self._tools = tools
        self._clock = clock
        self._queue: queue.Queue[tuple[str, Event | str | None]] = queue.Queue()
        self._busy = 0
        """The run that the worker is at; 0 for none."""
        self._all_tests = False
        """Whether that is one of all tests."""
        self._waiting: bool | None = None
        """A run that is to follow: whether it is of all tests."""
        self._over = False
        self.keys: Keys | None = None
        self.last: Event | None = None
        """How the last run ended."""

    def saved(self) -> None:
        """A file was saved."""
        self._queue.put(("saved", None))

    def told(self, event: Event | None) -> None:
        """The worker says something; None: it has ended."""
        self._queue.put(("told", event))

    def pressed(self, key: str) -> None:
        """A key."""
        self._queue.put(("key", key))

    def failed(self, reason: str) -> None:
        """A thread cannot go on."""
        self._queue.put(("failed", reason))

    def run(self, *, once: bool = False) -> None:
        """Until the user quits, or with `once` the first run has ended. Raises `HarnessError` where
        the worker is lost.
        """
        self._order(all_tests=False)
        while not self._over and not (once and self.last is not None):
            self._screen.show(self._shown, self._clock())
            try:
                what, value = self._queue.get(timeout=REDRAW)
            except queue.Empty:
                continue
            self._take(what, value)
        self._screen.show(self._shown, self._clock())

    def _take(self, what: str, value: Event | str | None) -> None:
        if what == "saved":
            self._order(all_tests=False)
        elif what == "failed":
            raise HarnessError(str(value))
        elif what == "key":
            self._key(str(value))
        elif isinstance(value, Event):
            self._event(value)
        else:
            raise HarnessError("the worker has ended; its log says why")

    def _order(self, *, all_tests: bool) -> None:
        """A new run: at once, or as soon as the one under way is over, which is cancelled."""
        self._shown = self._shown.ordered(self._shown.run + 1, self._clock())
        if self._busy:
            if self._waiting is None:
                self._worker.cancel()
            self._waiting = all_tests
            return
        self._begin(all_tests=all_tests)

    def _begin(self, *, all_tests: bool) -> None:
        self._busy, self._all_tests = self._shown.run, all_tests
        self._worker.order(self._busy, all_tests=all_tests)

    def _event(self, event: Event) -> None:
        self._shown = self._shown.told(event, self._clock())
        if event.stage is not Stage.DONE or event.run != self._busy:
            return
        if event.outcome is Outcome.CANCELLED and self._waiting is None:
            # Meant for the run before, which was over by then.
            self._busy = 0
            self._order(all_tests=self._all_tests)
            return
        self._busy = 0
        if self._waiting is not None:
            all_tests, self._waiting = self._waiting, None
            self._begin(all_tests=all_tests)
        elif event.outcome is not Outcome.CANCELLED:
            self.last = event

    def _key(self, key: str) -> None:
        event = self._shown.event if self._shown.ended is not None else None
        self._note("")
        if key == "q":
            self._over = True
        elif key in ("r", "\n", "\r"):
            self._order(all_tests=False)
        elif key == "a":
            self._order(all_tests=True)
        elif key in ("s", "g"):
            if event is not None and event.test and event.images:
                with self._lent():
                    self._tools.shell(event, gdb=key == "g")
            else:
                self._note("no test has failed: there is no machine to open")
        elif key == "o":
            if event is not None and event.report:
                with self._lent():
                    self._tools.report(event)
            else:
                self._note("no run has ended: there is no report yet")

    def _note(self, text: str) -> None:
        self._shown = dataclasses.replace(self._shown, note=text)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[None]:
        """The terminal is another program's for the block."""
        if self.keys is not None:
            self.keys.pause()
        self._screen.pause()
        try:
            yield
        finally:
            if self.keys is not None:
                self.keys.resume()
            self._screen.resume()


@contextlib.contextmanager
def threads(app: App, root: Path, keys: Keys | None) -> Iterator[None]:
    """Feeds saves and keys to the loop for the block."""
    stop = threading.Event()

    def saves() -> None:
        try:
            follow(root, stop, app.saved)
        except HarnessError as error:
            app.failed(str(error))

    def read_keys() -> None:
        assert keys is not None
        while not stop.is_set():
            if keys.paused:
                stop.wait(0.1)
            elif key := keys.read():
                app.pressed(key)
                if key == "q":
                    return

    started = [threading.Thread(target=saves, name="saves")]
    if keys is not None:
        started.append(threading.Thread(target=read_keys, name="keys"))
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in started:
            thread.join()
