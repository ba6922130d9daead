# SPDX-License-Identifier: MIT
"""Runs the jobs of one shard beside each other, and records each as soon as it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.engine.task import Done, Engine, Task
from harness.engine.watch import Watch
from harness.host.retry import ATTEMPTS
from harness.nightly.attempt import Attempt
from harness.nightly.job import Job, JobStatus


class Commands(Protocol):
    """What a job runs; see `harness.nightly.commands.NightCommands`."""

    def task(self, job: Job, number: int, before: Attempt | None) -> Task:
        """Its command; `before` is the attempt that failed by infrastructure."""

    def read(self, job: Job, done: Done) -> Attempt:
        """What is made of what it left."""


class Recorder(Protocol):
    """What keeps the results; see `harness.nightly.book.Book`."""

    def record(self, job: Job, number: int, attempt: Attempt, *, last: bool) -> None:
        """Keeps an attempt."""


@dataclasses.dataclass(frozen=True)
class _Work:
    job: Job
    number: int = 1
    before: Attempt | None = None


class NightRunner:
    """One run of some jobs."""

    def __init__(
        self,
        engine: Engine,
        commands: Commands,
        recorder: Recorder,
        directory: Path,
        watch: Watch,
    ) -> None:
        """`directory` is for the jobs' artifacts."""
        self._engine = engine
        self._commands = commands
        self._recorder = recorder
        self._directory = directory
        self._watch = watch
        self._work: dict[str, _Work] = {}

    def run(self, jobs: Sequence[Job], unbuilt: Mapping[str, str]) -> None:
        """Runs all of them; `unbuilt` says which kernels could not be built, and why.

        However it ends, no job runs any more, and what was done is recorded.
        """
        for job in jobs:
            if job.kernel in unbuilt:
                self._keep(_Work(job, ATTEMPTS), _unbuilt(job, unbuilt[job.kernel]))
            else:
                self._submit(_Work(job))
        try:
            for done in self._engine.results(self._watch.look):
                work = self._work.pop(done.task.name)
                attempt = self._commands.read(work.job, done)
                if self._keep(work, attempt):
                    self._submit(_Work(work.job, work.number + 1, attempt))
        finally:
            self._engine.cancel()

    def _submit(self, work: _Work) -> None:
        task = self._commands.task(work.job, work.number, work.before)
        place = self._directory / work.job.name / f"attempt-{work.number}"
        self._work[task.name] = work
        self._engine.submit(task, place, first=work.number > 1)

    def _keep(self, work: _Work, attempt: Attempt) -> bool:
        """Records an attempt; whether the job is to be tried again."""
        again = attempt.status is JobStatus.INFRASTRUCTURE and work.number < ATTEMPTS
        self._recorder.record(work.job, work.number, attempt, last=not again)
        more = ": once more" if again else ""
        self._watch.say(f"{_line(work.job, attempt)}{more}")
        if not again:
            self._watch.done(attempt.status is not JobStatus.PASSED)
        return again


def _unbuilt(job: Job, why: str) -> Attempt:
    return Attempt(
        JobStatus.INFRASTRUCTURE, message=f"Linux {job.kernel} could not be built\n{why}"
    )


def _line(job: Job, attempt: Attempt) -> str:
    """A job's result for the terminal."""
    line = f"{job.name:<24} {attempt.status.value:<14} {attempt.seconds:6.0f} s"
    line += f"  on {attempt.host}" if attempt.host else ""
    found = [result for result in attempt.results if result.failed]
    if attempt.results:
        line += f"  {len(found)} of {len(attempt.results)} tests failed"
    if attempt.mutants:
        line += f"  {len(attempt.mutants)} mutants"
    said = [f"    {result.test} ({result.verdict})" for result in found[:5]]
    if attempt.status is not JobStatus.PASSED and attempt.message:
        said += [f"    {text}" for text in attempt.message.splitlines()[:5]]
    return "\n".join([line, *said])
