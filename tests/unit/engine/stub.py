# SPDX-License-Identifier: MIT
"""An engine that runs a script of the test in the place of each task's program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness.engine.task import PYTHON, Done, Engine, State, Task


class Stubbed:
    """Gives `engine` a task's words as the arguments of `script`, and builds nothing."""

    def __init__(self, engine: Engine, script: str) -> None:
        self._engine = engine
        self._script = script
        self.tasks: list[Task] = []

    def submit(self, task: Task, directory: Path, *, first: bool = False) -> None:
        self.tasks.append(task)
        argv = (PYTHON, "-c", self._script, *task.argv)
        stub = dataclasses.replace(task, argv=argv, kernels=())
        self._engine.submit(stub, directory, first=first)

    def results(self, look: Callable[[], None] = lambda: None) -> Iterator[Done]:
        return self._engine.results(look)

    def cancel(self) -> None:
        self._engine.cancel()

    def state(self) -> State:
        return self._engine.state()

    def build(self, kernels: tuple[str, ...]) -> Mapping[str, str]:
        return {}

    def __enter__(self) -> Stubbed:
        return self

    def __exit__(self, *_error: object) -> None:
        self.cancel()
