# SPDX-License-Identifier: MIT
"""A task as a process of this machine, and nothing of it left running."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path

from harness.engine.task import LOG, Task
from harness.host.output import fresh
from harness.host.process import kill_group
from harness.testrun.suite import start

MARK = "HARNESS_TASK"
"""In the environment of all processes of a task: a nonce, by which strays are found."""


class TaskProcess:
    """A task that runs in `directory`, which is made anew. Raises `OSError`."""

    def __init__(self, task: Task, directory: Path) -> None:
        self.task = task
        self.directory = fresh(directory)
        self.late = False
        self._nonce = secrets.token_hex(8)
        self._tmp = self.directory / "tmp"
        self._tmp.mkdir()
        for name, content in task.files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._begun = time.monotonic()
        environment = {
            "PYTEST_DEBUG_TEMPROOT": str(self._tmp),
            MARK: self._nonce,
            **task.environment,
        }
        with (self.directory / LOG).open("wb") as log:
            self._process = start(task.words(self.directory, sys.executable), log, environment)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._begun

    def poll(self) -> int | None:
        """Its exit status when it has ended, with all that it started; None while it runs. Ends it
        where its time is over, see `late`.
        """
        status = self._process.poll()
        self.late = self.late or (status is None and self.seconds > self.task.timeout)
        if status is None and not self.late:
            return None
        self.end()
        return self._process.returncode if status is None else status

    def stop(self) -> None:
        """Asks it to end, and does not wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            os.killpg(self._process.pid, signal.SIGCONT)  # one that was stopped hears it too

    def end(self) -> None:
        """Ends it and all that it has started."""
        kill_group(self._process)
        end_marked(self._nonce)
        shutil.rmtree(self._tmp, ignore_errors=True)


def end_marked(nonce: str) -> None:
    """Kills what is left of a task in other process groups: whose leader was killed outright."""
    mark = f"{MARK}={nonce}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
