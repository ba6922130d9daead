# SPDX-License-Identifier: MIT
"""Nights without QEMU: jobs whose attempts are given, and a history made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.engine.local import LocalEngine, Running
from harness.engine.task import Done, Task
from harness.gate.sample import Sample
from harness.nightly.attempt import Attempt, MutantResult
from harness.nightly.book import Book, NightIdentity
from harness.nightly.database import Database
from harness.nightly.job import Job, JobKind, JobStatus
from harness.nightly.shard import plan_digest, share_out
from harness.testrun.result import CaseResult, Outcome

COMMIT = "c" * 40
PASSED, FAILED = Attempt(JobStatus.PASSED, 1.0), Attempt(JobStatus.FAILED, 1.0)
HOST = Attempt(JobStatus.INFRASTRUCTURE, 1.0, "the host is full")


def job(name: str = "6.1/512M/cma", kind: JobKind = JobKind.TESTS, kernel: str = "6.1") -> Job:
    return Job(name, kind, kernel, 60.0, 512 if kind is not JobKind.MUTANTS else None, "cma")


TEST = "tests/test_x.py::test_y"


def with_test(outcome: Outcome, test: str = TEST, **more: str) -> Attempt:
    """An attempt with one test."""
    verdict = more.get("verdict", "product" if outcome == "failed" else "")
    status = FAILED.status if outcome == "failed" else PASSED.status
    if verdict == "infrastructure":
        status = JobStatus.INFRASTRUCTURE
    result = CaseResult(test, outcome, verdict, more.get("message", ""), 0.5)
    return Attempt(status, 2.0, results=(result,))


def measured(value: float, name: str = "boot", unit: str = "ms") -> Attempt:
    return Attempt(JobStatus.PASSED, 3.0, samples=(Sample(name, unit, value),))


def mutated(**statuses: str) -> Attempt:
    results = tuple(
        MutantResult(name, f"breaks {name}", "mutant", status, "tests.x::y", "product")
        for name, status in statuses.items()
    )
    bad = any(result.status == "SURVIVED" for result in results)
    return Attempt(JobStatus.FAILED if bad else JobStatus.PASSED, 4.0, mutants=results)


def add_night(
    path: Path,
    name: str,
    jobs: Mapping[Job, Sequence[Attempt]],
    *,
    project: str = COMMIT,
    shard: tuple[int, int] = (1, 1),
    only: Sequence[Job] | None = None,
) -> None:
    """Writes a night (or a shard of it) with all attempts of each job."""
    shares = share_out(list(jobs), shard[1])
    night = NightIdentity(name, project, plan_digest(shares), shard[1], len(jobs))
    with Database(path, create=True) as database:
        book = Book(database, night, shard[0], {"QEMU": "7.2"})
        for one in book.open(shares[shard[0] - 1]):
            if only is not None and one not in only:
                continue
            attempts = jobs[one]
            for number, attempt in enumerate(attempts, 1):
                book.record(one, number, attempt, last=number == len(attempts))


class FakeRunning:
    """Ends after some polls."""

    late = False
    seconds = 1.0

    def __init__(self, starter: FakeStarter, name: str, directory: Path) -> None:
        self.starter = starter
        self.name = name
        self.directory = directory
        self.polls = 2

    def poll(self) -> int | None:
        self.polls -= 1
        if self.polls > 0:
            return None
        attempt = self.starter.given[self.directory]
        if isinstance(attempt, BaseException):
            raise attempt
        self.starter.now.remove(self.name)
        return 0

    def stop(self) -> None:
        self.starter.stopped.append(self.name)

    def end(self) -> None:
        self.starter.now.remove(self.name)


class FakeStarter:
    """Commands whose attempts are given by the jobs' names; others pass. What starts them too."""

    def __init__(self, **attempts: Sequence[Attempt | BaseException]) -> None:
        self.attempts = {name: list(given) for name, given in attempts.items()}
        self.given: dict[Path, Attempt | BaseException] = {}
        self.before: dict[str, Attempt | None] = {}
        self.now: list[str] = []
        self.together: list[set[str]] = []
        """The jobs that ran when each was started, itself included."""
        self.started: list[tuple[str, Path, Attempt | None]] = []
        self.stopped: list[str] = []

    def task(self, job: Job, number: int, before: Attempt | None) -> Task:
        name = f"{job.name}/attempt-{number}"
        self.before[name] = before
        return Task(name, (), 60.0, alone=job.alone, claims=job.claims)

    def read(self, job: Job, done: Done) -> Attempt:
        attempt = self.given[done.directory]
        assert isinstance(attempt, Attempt)
        return attempt

    def start(self, task: Task, directory: Path) -> Running:
        name = task.name.rpartition("/")[0]
        self.now.append(name)
        self.together.append(set(self.now))
        self.started.append((name, directory, self.before[task.name]))
        waiting = self.attempts.get(name)
        self.given[directory] = waiting.pop(0) if waiting else PASSED
        return FakeRunning(self, name, directory)

    def engine(self, slots: int, unbuilt: Mapping[str, str] | None = None) -> LocalEngine:
        return LocalEngine(slots, lambda kernels: unbuilt or {}, self.start, lambda seconds: None)


class Silent:
    """A watch that shows nothing."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.counted: list[bool] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def done(self, failed: bool) -> None:
        self.counted.append(failed)

    def look(self) -> None:
        pass


class Kept:
    """A recorder that only remembers."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, int, JobStatus, bool]] = []

    def record(self, job: Job, number: int, attempt: Attempt, *, last: bool) -> None:
        self.attempts.append((job.name, number, attempt.status, last))
