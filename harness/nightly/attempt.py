# SPDX-License-Identifier: MIT
"""What one attempt at a job found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.gate.sample import Sample
from harness.nightly.job import JobStatus
from harness.testrun.result import CaseResult


@dataclasses.dataclass(frozen=True)
class MutantResult:
    """One mutant's; see `harness.mutants.runner.Result`."""

    name: str
    subject: str
    kind: str
    status: str
    test: str = ""
    verdict: str = ""
    message: str = ""
    build_seconds: float = 0.0
    test_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Attempt:
    """All of it."""

    status: JobStatus
    seconds: float = 0.0
    """Wall time."""
    message: str = ""
    """Why it did not pass, where the results do not say."""
    log: Path | None = None
    results: tuple[CaseResult, ...] = ()
    samples: tuple[Sample, ...] = ()
    mutants: tuple[MutantResult, ...] = ()
    host: str = ""
    """The machine of a cluster that ran it; empty for the night's own."""
