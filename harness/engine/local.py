# SPDX-License-Identifier: MIT
"""The engine of this machine: so many processes at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from harness.builders.kept_trees import TREES
from harness.engine.process import TaskProcess
from harness.engine.task import Done, State, Task

POLL_SECONDS = 0.1

Build = Callable[[tuple[str, ...]], Mapping[str, str]]
"""Builds what kernels need; which could not be built, and why."""


class Running(Protocol):
    """A task that runs; see `harness.engine.process.TaskProcess`."""

    @property
    def seconds(self) -> float:
        """How long it has run."""

    @property
    def directory(self) -> Path:
        """Where it runs."""

    late: bool

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def stop(self) -> None:
        """Asks it to end."""

    def end(self) -> None:
        """Ends it."""


Start = Callable[[Task, Path], Running]


@dataclasses.dataclass(eq=False)
class _Work:
    task: Task
    directory: Path
    running: Running | None = None


class LocalEngine:
    """Runs as many tasks at once as there are `slots`."""

    def __init__(
        self,
        slots: int,
        build: Build = lambda kernels: {},
        start: Start = TaskProcess,
        wait: Callable[[float], None] = time.sleep,
        shares: int = 1,
    ) -> None:
        """`shares`: how many tasks that claim the same can run at once."""
        self._slots = slots
        self._build = build
        self._start = start
        self._wait = wait
        self._shares = shares
        self._waiting: list[_Work] = []
        self._running: list[_Work] = []

    def submit(self, task: Task, directory: Path, *, first: bool = False) -> None:
        """See `Engine`."""
        self._waiting.insert(0 if first else len(self._waiting), _Work(task, directory))

    def results(self, look: Callable[[], None] = lambda: None) -> Iterator[Done]:
        """See `Engine`."""
        while self._waiting or self._running:
            self._start_some()
            look()
            done = self._done()
            if done is None:
                self._wait(POLL_SECONDS)
            else:
                yield done

    def _start_some(self) -> None:
        for work in list(self._waiting):
            if not self._fits(work.task):
                if work.task.alone:
                    return  # all behind it wait, or it would never be started
                continue
            self._waiting.remove(work)
            # In the list before it runs: an interrupt in between must not lose it.
            self._running.append(work)
            work.running = self._start(self._environed(work.task), work.directory)

    def _environed(self, task: Task) -> Task:
        """With the number of trees that may be patched at once, where there may be several."""
        if not task.claims or self._shares == 1:
            return task
        return dataclasses.replace(task, environment={TREES: str(self._shares), **task.environment})

    def _fits(self, task: Task) -> bool:
        others = [work.task for work in self._running]
        if any(other.alone for other in others) or (task.alone and others):
            return False
        claimed = sum(other.claims == task.claims for other in others) if task.claims else 0
        return len(others) < self._slots and claimed < self._shares

    def _done(self) -> Done | None:
        for work in self._running:
            assert work.running is not None
            status = work.running.poll()
            if status is not None:
                self._running.remove(work)
                one = work.running
                return Done(work.task, one.directory, status, one.seconds, one.late)
        return None

    def cancel(self) -> None:
        """See `Engine`."""
        self._waiting.clear()
        ending = [work.running for work in self._running if work.running is not None]
        for running in ending:
            running.stop()
        for running in ending:
            running.end()
        self._running.clear()

    def state(self) -> State:
        """See `Engine`."""
        names = tuple(work.task.name for work in self._running)
        return State(names, len(self._waiting), 1, self._slots)

    def build(self, kernels: tuple[str, ...]) -> Mapping[str, str]:
        """See `Engine`."""
        return self._build(kernels)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_error: object) -> None:
        self.cancel()
