# SPDX-License-Identifier: MIT
"""The protocol of an engine: tasks are submitted, results come as they are there, all can be ended.

A task is a command in a process of its own, in an empty directory; its result is its exit status
and what it left in that directory. So every engine runs the same programs in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

HERE = "{here}"
"""In a word of a command: the task's directory, wherever it runs."""
PYTHON = "{python}"
"""In a word of a command: the interpreter of the machine that it runs on."""
GUESTS = "{guests}"
"""In a word of a command: how many guests it may run at once."""
LOG = "log.txt"
"""In the directory: what the command printed."""
LAST_LINES = 15


@dataclasses.dataclass(frozen=True)
class Task:
    """One command."""

    name: str
    """Tells it from the others of a run."""
    argv: tuple[str, ...]
    """Its words; `HERE`, `PYTHON` and `GUESTS` in them are replaced where it runs."""
    timeout: float
    """Seconds; afterwards it is ended."""
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """What is in its directory when it starts, by name."""
    kernels: tuple[str, ...] = ()
    """What has to be built before: versions, or directories that every machine sees."""
    variants: bool = True
    """Whether the variants of these kernels are needed too."""
    guests: int = 1
    """Guests, or jobs of make, that it runs at once; a cluster may give it fewer."""
    alone: bool = False
    """Whether nothing may run beside it on its machine."""
    claims: str = ""
    """What only one task of a machine can have at a time; empty for nothing."""
    dropped: tuple[str, ...] = ()
    """Names in its directory that are not moved to who asked for it."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def trees(self) -> int:
        """How many of a machine's patched trees it takes: what it claims is one."""
        return int(bool(self.claims))

    def words(self, here: Path, python: str) -> list[str]:
        """The command as it is run in `here`."""
        known = {HERE: str(here), PYTHON: python, GUESTS: str(self.guests)}
        return [_replaced(word, known) for word in self.argv]


def _replaced(word: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        word = word.replace(name, value)
    return word


@dataclasses.dataclass(frozen=True)
class Done:
    """What came of one task."""

    task: Task
    directory: Path
    """On this machine: what it left."""
    status: int = 0
    """Its exit status; negative: the signal that ended it."""
    seconds: float = 0.0
    late: bool = False
    """Whether it was ended because its time was over."""
    trouble: str = ""
    """Why nothing is known of it, where it was not run to its end: the machine's or the cluster's
    fault, never the command's."""
    host: str = ""
    """The machine that ran it; empty for this one."""

    @property
    def said(self) -> str:
        """How it ended, and the last lines that it printed."""
        if self.trouble:
            return self.trouble
        minutes = self.task.timeout / 60
        how = f"exit status {self.status}"
        if self.late:
            how = f"not done after {minutes:.0f} minutes, and ended"
        try:
            lines = (self.directory / LOG).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join([how, *lines[-LAST_LINES:]])


@dataclasses.dataclass(frozen=True)
class State:
    """How far an engine is."""

    running: tuple[str, ...] = ()
    """Names of the tasks that run now."""
    waiting: int = 0
    workers: int = 0
    """Machines, or processes of this one, that work."""
    slots: int = 0
    """Tasks that they can run at once."""


class Engine(Protocol):
    """Runs tasks. Use it as a context manager: at the end nothing runs on."""

    def submit(self, task: Task, directory: Path, *, first: bool = False) -> None:
        """Has it run in time; what it leaves is put into `directory`, made anew. `first`: before
        what waits.
        """

    def results(self, look: Callable[[], None] = lambda: None) -> Iterator[Done]:
        """Each task's result once, in the order in which they come, until none is left; tasks may
        be submitted meanwhile. `look` is called now and then.

        Raises `HarnessError` where no more can come.
        """

    def cancel(self) -> None:
        """Ends all that runs, and forgets what waits."""

    def state(self) -> State:
        """How far it is."""

    def build(self, kernels: tuple[str, ...]) -> Mapping[str, str]:
        """Has these kernels built, or found; which could not be built, and why."""

    def __enter__(self) -> Engine:
        """Itself."""

    def __exit__(self, *_error: object) -> None:
        """Cancels and closes."""
