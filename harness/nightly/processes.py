# SPDX-License-Identifier: MIT
"""Runs a job as a process of its own, and reads what it left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.gate.sample import Sample
from harness.host.output import fresh
from harness.host.process import kill_group
from harness.mutants import patchfile, report
from harness.mutants import runner as mutants
from harness.nightly.attempt import Attempt, MutantResult
from harness.nightly.job import GROUPS, Job, JobKind, JobStatus
from harness.nightly.measure import SAMPLES
from harness.testrun.junit import read_cases, transcript_of
from harness.testrun.result import NOTHING, CaseResult, SuiteResult
from harness.testrun.suite import JUNIT, pytest_command, start

LOG = "log.txt"
_LAST_LINES = 15
_GOOD = {status.value for status in mutants.GOOD}
_UNKNOWN = {mutants.MutantStatus.INFRASTRUCTURE.value, mutants.MutantStatus.UNSTABLE.value}


class Process:
    """A job that runs."""

    def __init__(self, job: Job, argv: Sequence[str], directory: Path) -> None:
        self._job = job
        self._directory = directory
        self._log = directory / LOG
        self._tmp = directory / "tmp"
        self._tmp.mkdir()
        self._begun = time.monotonic()
        with self._log.open("wb") as log:
            self._process = start(argv, log, {"PYTEST_DEBUG_TEMPROOT": str(self._tmp)})

    def poll(self) -> Attempt | None:
        """What came of it; None while it runs. Ends it where its time is over."""
        status = self._process.poll()
        seconds = time.monotonic() - self._begun
        late = status is None and seconds > self._job.timeout
        if status is None and not late:
            return None
        self.end()
        if late:
            said = f"not done after {self._job.timeout / 60:.0f} minutes, and ended"
            return self._read(-signal.SIGTERM, seconds, said)
        assert status is not None
        return self._read(status, seconds, f"exit status {status}")

    def stop(self) -> None:
        """Asks it to end, and does not wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """Ends it and all that it has started."""
        kill_group(self._process)
        shutil.rmtree(self._tmp, ignore_errors=True)

    def _read(self, status: int, seconds: float, said: str) -> Attempt:
        read = {
            JobKind.TESTS: read_tests,
            JobKind.MEASURE: read_samples,
            JobKind.MUTANTS: read_mutants,
        }
        attempt = read[self._job.kind](self._directory, status)
        message = ""
        if attempt.status is JobStatus.INFRASTRUCTURE or (
            attempt.status is JobStatus.FAILED and self._job.kind is JobKind.MEASURE
        ):
            lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            message = "\n".join([said, *lines])
        elif attempt.status is JobStatus.EMPTY:
            message = f"no test was run: -k {self._job.expression!r} selects none, or all skip"
        return Attempt(
            attempt.status,
            seconds,
            message,
            self._log,
            attempt.results,
            attempt.samples,
            attempt.mutants,
        )


class Processes:
    """Starts the jobs of one night."""

    def __init__(self, night: str) -> None:
        # Mutants at random, and the same ones on all shards.
        self._seed = zlib.crc32(night.encode()) % (1 << 16)

    def start(self, job: Job, directory: Path, before: Attempt | None) -> Process:
        """Starts a job that works in `directory`, which is made anew. `before` is the attempt that
        failed by infrastructure.
        """
        directory = fresh(directory)
        if job.kind is JobKind.MUTANTS:
            argv = self._mutants(job, directory, before)
        else:
            argv = _tests(job, directory) if job.kind is JobKind.TESTS else _measure(job, directory)
        return Process(job, argv, directory)

    def _mutants(self, job: Job, directory: Path, before: Attempt | None) -> list[str]:
        argv = [sys.executable, "-m", "harness", "mutants", "--kernel", job.kernel]
        argv += ["--output", str(directory)]
        if before is not None and before.mutants:
            # What is known stays known: a mutant takes half a minute.
            known = {m.name for m in before.mutants if m.status not in _UNKNOWN}
            chosen = patchfile.select(
                patchfile.read_all(kernel=job.kernel), job.only, job.part, job.sample, self._seed
            )
            names = [m.name for m in chosen if m.name not in known]
            return argv + [word for name in names for word in ("--only", name)]
        argv += [word for pattern in job.only for word in ("--only", pattern)]
        argv += ["--sample", str(job.sample)] if job.sample is not None else []
        return [*argv, "--seed", str(self._seed), "--shard", f"{job.part[0]}/{job.part[1]}"]


def _tests(job: Job, directory: Path) -> list[str]:
    argv = [*pytest_command(directory), "--qemu-kernel-version", job.kernel]
    argv += ["--qemu-memory", str(job.memory_mib)] if job.memory_mib is not None else []
    argv += ["-k", job.expression] if job.expression else []
    return [*argv, *GROUPS[job.group]]


def _measure(job: Job, directory: Path) -> list[str]:
    argv = [sys.executable, "-m", "harness.nightly.measure", "--kernel-version", job.kernel]
    argv += ["--memory", str(job.memory_mib)] if job.memory_mib is not None else []
    return [*argv, "--to", str(directory)]


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


def read_mutants(directory: Path, status: int) -> Attempt:
    """What ``harness mutants`` left, also where it was ended early."""
    content = _json(directory / report.RESULTS) or {"mutants": []}
    results = tuple(MutantResult(**values) for values in content["mutants"])
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
