# SPDX-License-Identifier: MIT
"""Runs the jobs of one shard beside each other, and records each as soon as it is done."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.host.retry import ATTEMPTS
from harness.nightly.attempt import Attempt
from harness.nightly.job import Job, JobStatus

POLL_SECONDS = 0.2


class RunningJob(Protocol):
    """A job that runs; see `harness.nightly.processes.Process`."""

    def poll(self) -> Attempt | None:
        """What came of it; None while it runs."""

    def stop(self) -> None:
        """Asks it to end."""

    def end(self) -> None:
        """Ends it."""


class Starter(Protocol):
    """What starts a job; see `harness.nightly.processes.Processes`."""

    def start(self, job: Job, directory: Path, before: Attempt | None) -> RunningJob:
        """Starts it in a directory; `before` is the attempt that failed by infrastructure."""


class Recorder(Protocol):
    """What keeps the results; see `harness.nightly.book.Book`."""

    def record(self, job: Job, number: int, attempt: Attempt, *, last: bool) -> None:
        """Keeps an attempt."""


@dataclasses.dataclass
class _Work:
    job: Job
    number: int = 1
    before: Attempt | None = None
    running: RunningJob | None = None


class NightRunner:
    """One run of some jobs."""

    def __init__(
        self,
        starter: Starter,
        recorder: Recorder,
        directory: Path,
        workers: int,
        say: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`directory` is for the jobs' artifacts; `workers` is how many jobs run at once."""
        self._starter = starter
        self._recorder = recorder
        self._directory = directory
        self._workers = workers
        self._say = say
        self._wait = wait
        self._running: list[_Work] = []

    def run(self, jobs: Sequence[Job], unbuilt: Mapping[str, str]) -> None:
        """Runs all of them; `unbuilt` says which kernels could not be built, and why.

        However it ends, no job runs any more, and what was done is recorded.
        """
        waiting = []
        for job in jobs:
            if job.kernel in unbuilt:
                self._keep(_Work(job, ATTEMPTS), _unbuilt(job, unbuilt[job.kernel]))
            else:
                waiting.append(_Work(job))
        try:
            while waiting or self._running:
                self._start_some(waiting)
                if not self._collect(waiting):
                    self._wait(POLL_SECONDS)
        finally:
            for work in self._running:
                if work.running is not None:
                    work.running.stop()
            for work in self._running:
                if work.running is not None:
                    work.running.end()

    def _start_some(self, waiting: list[_Work]) -> None:
        for work in list(waiting):
            if not self._fits(work.job):
                if work.job.alone:
                    return  # all behind it wait, or it would never be started
                continue
            waiting.remove(work)
            place = self._directory / work.job.name / f"attempt-{work.number}"
            # In the list before it runs: an interrupt in between must not lose it.
            self._running.append(work)
            work.running = self._starter.start(work.job, place, work.before)

    def _fits(self, job: Job) -> bool:
        others = [work.job for work in self._running]
        if any(other.alone for other in others) or (job.alone and others):
            return False
        claimed = {other.claims for other in others if other.claims}
        return len(others) < self._workers and job.claims not in claimed

    def _collect(self, waiting: list[_Work]) -> bool:
        """Keeps what is done; whether anything was."""
        done = False
        for work in list(self._running):
            assert work.running is not None
            attempt = work.running.poll()
            if attempt is None:
                continue
            done = True
            self._running.remove(work)
            if self._keep(work, attempt):
                waiting.insert(0, _Work(work.job, work.number + 1, attempt))
        return done

    def _keep(self, work: _Work, attempt: Attempt) -> bool:
        """Records an attempt; whether the job is to be tried again."""
        again = attempt.status is JobStatus.INFRASTRUCTURE and work.number < ATTEMPTS
        self._recorder.record(work.job, work.number, attempt, last=not again)
        more = ": once more" if again else ""
        self._say(f"{_line(work.job, attempt)}{more}")
        return again


def _unbuilt(job: Job, why: str) -> Attempt:
    return Attempt(
        JobStatus.INFRASTRUCTURE, message=f"Linux {job.kernel} could not be built\n{why}"
    )


def _line(job: Job, attempt: Attempt) -> str:
    """A job's result for the terminal."""
    line = f"{job.name:<24} {attempt.status.value:<14} {attempt.seconds:6.0f} s"
    found = [result for result in attempt.results if result.failed]
    if attempt.results:
        line += f"  {len(found)} of {len(attempt.results)} tests failed"
    if attempt.mutants:
        line += f"  {len(attempt.mutants)} mutants"
    said = [f"    {result.test} ({result.verdict})" for result in found[:5]]
    if attempt.status is not JobStatus.PASSED and attempt.message:
        said += [f"    {text}" for text in attempt.message.splitlines()[:5]]
    return "\n".join([line, *said])
