# SPDX-License-Identifier: MIT
"""The command of each kind of job, and what is made of what it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.engine.task import HERE, LOG, PYTHON, Done, Task
from harness.errors import HarnessError
from harness.gate.sample import Sample
from harness.mutants import patchfile, report
from harness.mutants import runner as mutants
from harness.nightly.attempt import Attempt, MutantResult
from harness.nightly.job import GROUPS, Job, JobKind, JobStatus
from harness.nightly.measure import SAMPLES
from harness.testrun.junit import read_cases, transcript_of
from harness.testrun.result import NOTHING, CaseResult, SuiteResult
from harness.testrun.suite import JUNIT, pytest_command

_GOOD = {status.value for status in mutants.GOOD}
_UNKNOWN = {mutants.MutantStatus.INFRASTRUCTURE.value, mutants.MutantStatus.UNSTABLE.value}
_HERE = Path(HERE)


class NightCommands:
    """The commands of one night."""

    def __init__(self, night: str) -> None:
        # Mutants at random, and the same ones on all shards.
        self._seed = zlib.crc32(night.encode()) % (1 << 16)

    def task(self, job: Job, number: int, before: Attempt | None) -> Task:
        """What attempt `number` runs; `before` is the one that failed by infrastructure."""
        if job.kind is JobKind.MUTANTS:
            argv = self._mutants(job, before)
        elif job.kind is JobKind.EXPLORE:
            argv = [PYTHON, "-m", "harness", "explore", "--kernel", job.kernel, "--jobs", "1"]
            argv += ["--minutes", str(job.minutes), "--seed", str(self._seed), "--output", HERE]
            argv += ["--variant", job.variant] if job.variant else []
        else:
            argv = _tests(job) if job.kind is JobKind.TESTS else _measure(job)
        return Task(
            f"{job.name}/attempt-{number}",
            tuple(argv),
            job.timeout,
            kernels=(job.kernel,),
            alone=job.alone,
            claims=job.claims,
        )

    def read(self, job: Job, done: Done) -> Attempt:
        """What is made of what it left."""
        if done.trouble:
            attempt = Attempt(JobStatus.INFRASTRUCTURE)
        else:
            attempt = _READ[job.kind](done.directory, -1 if done.late else done.status)
        message = ""
        if attempt.status is JobStatus.INFRASTRUCTURE or (
            attempt.status is JobStatus.FAILED and job.kind in (JobKind.MEASURE, JobKind.EXPLORE)
        ):
            message = done.said
        elif attempt.status is JobStatus.EMPTY:
            message = f"no test was run: -k {job.expression!r} selects none, or all skip"
        return dataclasses.replace(
            attempt,
            seconds=done.seconds,
            message=message,
            log=None if done.trouble else done.directory / LOG,
            host=done.host,
        )

    def _mutants(self, job: Job, before: Attempt | None) -> list[str]:
        argv = [PYTHON, "-m", "harness", "mutants", "--kernel", job.kernel, "--output", HERE]
        if before is not None and before.mutants:
            # What is known stays known: a mutant takes half a minute.
            known = {m.name for m in before.mutants if m.status not in _UNKNOWN}
            chosen = patchfile.select(
                patchfile.read_all(kernel=job.kernel), job.only, job.part, job.sample, self._seed
            )
            # Where all are known, and yet it did not end well, one is run: none would mean all.
            names = [m.name for m in chosen if m.name not in known] or [m.name for m in chosen][:1]
            return argv + [word for name in names for word in ("--only", name)]
        argv += [word for pattern in job.only for word in ("--only", pattern)]
        argv += ["--sample", str(job.sample)] if job.sample is not None else []
        return [*argv, "--seed", str(self._seed), "--shard", f"{job.part[0]}/{job.part[1]}"]


def _tests(job: Job) -> list[str]:
    argv = [PYTHON, *pytest_command(_HERE)[1:], "--qemu-kernel-version", job.kernel]
    argv += ["--qemu-memory", str(job.memory_mib)] if job.memory_mib is not None else []
    argv += ["-k", job.expression] if job.expression else []
    argv += ["--qemu-variant", job.variant] if job.variant else []
    return [*argv, *GROUPS[job.group]]


def _measure(job: Job) -> list[str]:
    argv = [PYTHON, "-m", "harness.nightly.measure", "--kernel-version", job.kernel]
    argv += ["--memory", str(job.memory_mib)] if job.memory_mib is not None else []
    return [*argv, "--to", HERE]


def read_tests(directory: Path, status: int) -> Attempt:
    """What pytest left. Transcripts of tests that did not fail are removed."""
    cases: list[CaseResult] = []
    with contextlib.suppress(HarnessError):  # then the exit status says it
        cases = read_cases(directory / JUNIT)
    ran = any(case.ran for case in cases)
    outcome = SuiteResult(status, tuple(cases), 0.0, directory / LOG)
    if outcome.caught:
        found = JobStatus.FAILED
    elif outcome.infrastructure:
        found = JobStatus.INFRASTRUCTURE
    else:
        found = JobStatus.EMPTY if not ran or status == NOTHING else JobStatus.PASSED
    place = directory / "tests"
    results = [
        dataclasses.replace(case, artifact=transcript_of(case.test, place)) if case.failed else case
        for case in cases
    ]
    kept = {case.artifact.relative_to(place).parts[0] for case in results if case.artifact}
    if place.is_dir():
        for path in place.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
    return Attempt(found, results=tuple(results))


def read_samples(directory: Path, status: int) -> Attempt:
    """What `harness.nightly.measure` left."""
    known = {0: JobStatus.PASSED, 1: JobStatus.FAILED}
    samples = _json(directory / SAMPLES) or []
    found = known.get(status, JobStatus.INFRASTRUCTURE)
    return Attempt(found, samples=tuple(Sample(**values) for values in samples))


def read_exploration(_directory: Path, status: int) -> Attempt:
    """``harness explore`` says by its exit status what came of it, and in its log how."""
    known = {0: JobStatus.PASSED, 1: JobStatus.FAILED}
    return Attempt(known.get(status, JobStatus.INFRASTRUCTURE))


def read_mutants(directory: Path, status: int) -> Attempt:
    """What ``harness mutants`` left, also where it was ended early."""
    content = _json(directory / report.RESULTS) or {"mutants": []}
    names = {field.name for field in dataclasses.fields(MutantResult)}
    rows = ({k: v for k, v in row.items() if k in names} for row in content["mutants"])
    results = tuple(MutantResult(**row) for row in rows)  # what a gate would choose is not kept
    if any(result.status not in _GOOD | _UNKNOWN for result in results):
        found = JobStatus.FAILED
    else:
        found = JobStatus.PASSED if status == report.PASSED else JobStatus.INFRASTRUCTURE
    return Attempt(found, mutants=results)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # it ended before, or while, it was written


_READ: Mapping[JobKind, Callable[[Path, int], Attempt]] = {
    JobKind.TESTS: read_tests,
    JobKind.MEASURE: read_samples,
    JobKind.MUTANTS: read_mutants,
    JobKind.EXPLORE: read_exploration,
}
