# SPDX-License-Identifier: MIT
"""A night as a KCIDB document (`harness.testrun.kcidb`): a checkout and a build for each kernel,
and under it every test of its jobs, with its last attempt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from harness.errors import UserError
from harness.nightly.database import Database
from harness.nightly.history import JobRun, NightRun, load
from harness.nightly.job import JobKind, JobStatus
from harness.testrun import kcidb
from harness.testrun.kcidb import Checkout, KernelBuild
from harness.testrun.result import CaseResult, Outcome

ORIGIN = "vexpress_cma"
"""The name of the CI where nobody gave another."""
MANY = 1000
"""Nights back in which one is looked for by its name."""
_JOBS: dict[JobStatus, tuple[Outcome, str]] = {
    JobStatus.NOT_RUN: ("failed", "infrastructure"),
    JobStatus.EMPTY: ("skipped", ""),
    JobStatus.INFRASTRUCTURE: ("failed", "infrastructure"),
}
"""Outcome and verdict of a job that left no test's result, where its status says more."""


def document(night: NightRun, origin: str = ORIGIN) -> dict[str, Any]:
    """The night. Raises `UserError` for an origin that is no name."""
    kernels: dict[str, list[JobRun]] = {}
    for job in night.jobs.values():
        kernels.setdefault(job.kernel, []).append(job)
    runs = []
    for kernel, jobs in kernels.items():
        checkout = Checkout(f"Linux {kernel}, night {night.id}", night.started)
        builds = [
            KernelBuild(_memory(memory), kernel, cases=_all(some))
            for memory, some in _by_memory(jobs)
        ]
        runs.append((checkout, builds))
    return kcidb.report(origin, runs)


def cases(night: NightRun) -> list[CaseResult]:
    """Every test of every job, each under its job's name."""
    return [
        dataclasses.replace(case, test=f"{job.name}/{case.test}")
        for job in night.jobs.values()
        for case in _cases(job)
    ]


def night_of(database: Database, name: str = "") -> NightRun:
    """The night of a name, of the last one. Raises `UserError` where it is not there."""
    found = [night for night in load(database, MANY) if name in ("", night.id)]
    if not found:
        raise UserError(f"{database.path} has no night {name}")
    return found[-1]


def _by_memory(jobs: list[JobRun]) -> Iterator[tuple[int | None, list[JobRun]]]:
    for memory in dict.fromkeys(job.memory_mib for job in jobs):
        yield memory, [job for job in jobs if job.memory_mib == memory]


def _all(jobs: list[JobRun]) -> list[CaseResult]:
    """The tests of all jobs, each once under its job's name where two jobs have it."""
    found: dict[str, CaseResult] = {}
    for job in jobs:
        for case in _cases(job):
            test = case.test if case.test not in found else f"{case.test} ({job.name})"
            found[test] = dataclasses.replace(case, test=test)
    return list(found.values())


def _memory(mebibytes: int | None) -> str:
    return f"{mebibytes} MiB of RAM" if mebibytes else "RAM as the tests say"


def _cases(job: JobRun) -> Iterator[CaseResult]:
    """Its tests; the job itself where it has none of its own, or is about mutants."""
    for run in job.tests.values():
        yield run.last
    if job.kind == JobKind.MUTANTS.value or not job.tests:
        good: tuple[Outcome, str] = ("passed", "")
        bad: tuple[Outcome, str] = ("failed", "product")
        plain = good if job.status is JobStatus.PASSED else bad
        outcome, verdict = _JOBS.get(job.status, plain)
        yield CaseResult(f"nightly/{job.name}", outcome, verdict, job.message, job.seconds)
