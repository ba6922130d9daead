# SPDX-License-Identifier: MIT
"""Shares a night's jobs out among machines, the same way on each of them."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence

from harness.nightly.job import Job, JobKind

_GUESS = {
    JobKind.TESTS: 300.0,
    JobKind.MEASURE: 30.0,
    JobKind.MUTANTS: 1200.0,
    JobKind.EXPLORE: 600.0,
}
"""Seconds of a job of which none of its kind was ever run."""


def share_out(
    jobs: Sequence[Job], count: int, seconds: Mapping[str, float] | None = None
) -> list[list[Job]]:
    """`count` lists in which each job is once; the longest first to the one with the least to do.

    `seconds` is what jobs took before, by name. Equal arguments, equal shares.
    """
    known = seconds or {}
    guesses = {
        kind: statistics.median(
            [known[job.name] for job in jobs if job.kind is kind and job.name in known]
            or [_GUESS[kind]]
        )
        for kind in JobKind
    }
    cost = {job.name: known.get(job.name, guesses[job.kind]) for job in jobs}
    loads = [0.0] * count
    where: dict[str, int] = {}
    for job in sorted(jobs, key=lambda job: (-cost[job.name], job.name)):
        least = loads.index(min(loads))
        loads[least] += cost[job.name]
        where[job.name] = least
    return [[job for job in jobs if where[job.name] == index] for index in range(count)]


def plan_digest(shares: Sequence[Sequence[Job]]) -> str:
    """Names a plan: jobs, what each does, and which shard has it. 16 hex digits."""
    plan = [[repr(job) for job in share] for share in shares]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]
