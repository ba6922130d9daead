# SPDX-License-Identifier: MIT
"""The worker's process: takes orders on standard input, tells events on standard output.

SIGINT cancels the run that is under way, or the next one where none is: it raises in the main
thread, so that make, QEMU, pytest and what they have open end as they do at Ctrl-C. The end of
standard input ends the worker. Where the screen is killed, the kernel ends the worker
(``PR_SET_PDEATHSIG``), which then ends the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TextIO

from harness.builders.repository import Repository
from harness.host.command import Terminated
from harness.watch.events import Event, Outcome, Stage
from harness.watch.job import Job, Order, Settings


class Cancelled(BaseException):
    """A new save, or the user, ends this run."""


class Worker:
    """Carries out one order after the other."""

    def __init__(self, settings: Settings, events: TextIO) -> None:
        self._events = events
        self._job = Job(settings, self._tell)
        self._busy = False
        self._pending = False
        """Whether the next run is to be cancelled: SIGINT came before it had begun."""

    def serve(self, orders: TextIO) -> None:
        """Until the orders end."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, _terminate)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            for line in iter(orders.readline, ""):
                self._carry_out(_order(line))
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._job.close()

    def _carry_out(self, order: Order) -> None:
        try:
            try:
                self._busy = True
                if self._pending:
                    raise Cancelled
                self._job.run(order)
            finally:
                self._busy = self._pending = False
        except Cancelled:
            self._tell(Event(order.run, Stage.DONE, "cancelled", outcome=Outcome.CANCELLED))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._busy:
            # Once: what is being ended is not to be interrupted again.
            self._busy = False
            raise Cancelled
        self._pending = True

    def _tell(self, event: Event) -> None:
        print(event.line(), file=self._events, flush=True)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _order(line: str) -> Order:
    values = json.loads(line)
    return Order(int(values["run"]), bool(values.get("all_tests")))


def settings_text(settings: Settings) -> str:
    """Settings for the command line of a worker."""
    repository = settings.repository
    return json.dumps(
        {
            "top": str(repository.top),
            "prefix": repository.prefix,
            "output": str(settings.output),
            "jobs": settings.jobs,
            "config": [str(path) for path in settings.config],
            "select": str(settings.select) if settings.select else "",
        }
    )


def _settings(text: str) -> Settings:
    values = json.loads(text)
    return Settings(
        Repository(Path(values["top"]), values["prefix"]),
        Path(values["output"]),
        values["jobs"],
        tuple(map(Path, values["config"])),
        Path(values["select"]) if values["select"] else None,
    )


def main() -> int:
    """A worker with the settings of its command line."""
    # What else is printed must not come between the events.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(Terminated, BrokenPipeError):
        Worker(_settings(sys.argv[1]), events).serve(sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main())
