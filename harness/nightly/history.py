# SPDX-License-Identifier: MIT
"""Reads the last nights from the database, and finds what changed in them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import json
import math
import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from harness.errors import UserError
from harness.host.facts import comparable
from harness.mutants.runner import GOOD, MutantStatus
from harness.nightly.attempt import MutantResult
from harness.nightly.database import Database
from harness.nightly.job import JobStatus
from harness.testrun.result import CaseResult, Outcome

_GOOD = {status.value for status in GOOD}
_UNKNOWN = {MutantStatus.INFRASTRUCTURE.value, MutantStatus.UNSTABLE.value}


def mutant_colour(status: str) -> str:
    """``good``: as it should be; ``infra``: nothing is known of it; else ``bad``."""
    if status in _UNKNOWN:
        return "warn"
    return "good" if status in _GOOD else "bad"


@dataclasses.dataclass(frozen=True)
class TestRun:
    """One test of one job in one night: its last attempt, and what those before it said."""

    __test__ = False

    last: CaseResult
    """Its artifact is relative to the database's directory."""
    before: tuple[str, ...] = ()
    """Outcomes of the attempts before."""

    @property
    def fails(self) -> bool | None:
        """Whether the system under test is at fault; None where that is not known."""
        if self.last.outcome in ("passed", "xfailed"):
            return False
        return True if self.last.system_at_fault else None


@dataclasses.dataclass(frozen=True)
class JobRun:
    """One job of one night."""

    name: str
    kind: str
    kernel: str
    memory_mib: int | None
    status: JobStatus
    attempts: int
    seconds: float
    message: str
    artifact: str
    host: str
    """The machine of a cluster that ran it last; empty: the shard's own."""
    tests: Mapping[str, TestRun]
    samples: Mapping[tuple[str, str], float]
    """By name and unit."""
    mutants: tuple[MutantResult, ...]

    @property
    def failing(self) -> int:
        """How many tests fail, or mutants were not noticed as they should be."""
        bad = sum(mutant_colour(mutant.status) == "bad" for mutant in self.mutants)
        return bad + sum(test.fails is True for test in self.tests.values())


@dataclasses.dataclass(frozen=True)
class HostWork:
    """What one machine of a cluster did in a night."""

    host: str
    """Its name; empty: the shard's own."""
    attempts: int
    busy: float
    """Seconds that its jobs took, one after the other."""
    span: float
    """Seconds from the beginning of the night's first job to the end of its last one."""

    @property
    def at_once(self) -> float:
        """How many jobs ran there at once, on average."""
        return self.busy / self.span if self.span else 0.0


@dataclasses.dataclass(frozen=True)
class NightRun:
    """One night."""

    id: str
    started: str
    project: str
    shards: int
    hosts: Mapping[int, Mapping[str, str]]
    """What each shard that is here ran on."""
    jobs: Mapping[str, JobRun]
    missing: int
    """Jobs of shards that are not here."""
    work: tuple[HostWork, ...] = ()
    """By machine."""

    @property
    def on_cluster(self) -> bool:
        """Whether machines of a cluster ran it."""
        return any(one.host for one in self.work)


def _host(text: str) -> dict[str, str]:
    """Of a host only its words are told: what cannot be read is as if it were missing."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        return {str(name): str(value) for name, value in json.loads(text).items()}
    return {}


def load(database: Database, count: int) -> list[NightRun]:
    """The last `count` nights, the oldest first. Raises `UserError` where there is none."""
    rows = database.rows("SELECT * FROM nights ORDER BY started DESC, id DESC LIMIT ?", count)
    if not rows:
        raise UserError(f"{database.path} has no night yet: run scripts/nightly first")
    nights = []
    for row in reversed(rows):
        with database.sound(row["id"]):
            nights.append(_night(database, row))
    return nights


def _night(database: Database, row: sqlite3.Row) -> NightRun:
    shards = database.rows("SELECT * FROM shards WHERE night = ? ORDER BY number", row["id"])
    hosts = {shard["number"]: _host(shard["host"]) for shard in shards}
    found = database.rows("SELECT * FROM jobs WHERE night = ? ORDER BY id", row["id"])
    jobs = {job["name"]: _job(database, dict(job)) for job in found}
    return NightRun(
        row["id"],
        row["started"],
        row["project"],
        row["shards"],
        hosts,
        jobs,
        row["jobs"] - len(jobs),
        _work(database, row["id"]),
    )


def _work(database: Database, night: str) -> tuple[HostWork, ...]:
    begun = "CAST(strftime('%s', attempts.started) AS INTEGER)"
    query = (
        "SELECT host, count(*) AS attempts, sum(seconds) AS busy,"
        f" min({begun}) AS first, max({begun} + seconds) AS last FROM attempts"
        " JOIN jobs ON jobs.id = attempts.job WHERE night = ? GROUP BY host ORDER BY host"
    )
    rows = database.rows(query, night)
    if not rows:
        return ()
    span = max(row["last"] for row in rows) - min(row["first"] for row in rows)
    return tuple(HostWork(row["host"], row["attempts"], row["busy"], span) for row in rows)


def _job(database: Database, job: dict[str, object]) -> JobRun:
    number = job.pop("id")
    attempts = database.rows("SELECT * FROM attempts WHERE job = ? ORDER BY number", number)
    last = attempts[-1] if attempts else None
    tests: dict[str, TestRun] = {}
    query = "SELECT * FROM results WHERE job = ? ORDER BY attempt, test"
    for row in database.rows(query, number):
        known = tests.get(row["test"])
        before = (*known.before, known.last.outcome) if known else ()
        artifact = Path(row["artifact"]) if row["artifact"] else None
        if row["outcome"] not in get_args(Outcome):
            raise ValueError(f"outcome {row['outcome']!r}")
        names = ("test", "outcome", "verdict", "message", "seconds")
        result = CaseResult(artifact=artifact, **{name: row[name] for name in names})
        tests[row["test"]] = TestRun(result, before)
    values = collections.defaultdict(list)
    query = "SELECT * FROM measurements WHERE job = ? AND attempt = ?"
    for row in database.rows(query, number, last["number"] if last else 0):
        if not math.isfinite(row["value"]):
            raise ValueError(f"{row['name']} {row['value']}")
        values[row["name"], row["unit"]].append(row["value"])
    mutants = {}
    for row in database.rows("SELECT * FROM mutants WHERE job = ? ORDER BY attempt", number):
        fields = {key: value for key, value in dict(row).items() if key not in ("job", "attempt")}
        mutants[row["name"]] = MutantResult(**fields)
    return JobRun(
        str(job["name"]),
        str(job["kind"]),
        str(job["kernel"]),
        job["memory_mib"],  # type: ignore[arg-type]
        JobStatus(job["status"]),
        len(attempts),
        sum(attempt["seconds"] for attempt in attempts),
        last["message"] if last else "",
        last["artifact"] if last else "",
        last["host"] if last else "",
        tests,
        {key: statistics.median(found) for key, found in values.items()},
        tuple(mutants[name] for name in sorted(mutants)),
    )


class What(enum.Enum):
    """How a test differs from the nights before."""

    NEWLY_FAILS = "newly failing"
    STILL_FAILS = "still failing"
    NEWLY_PASSES = "newly passing"


@dataclasses.dataclass(frozen=True)
class NightChange:
    """A test whose result changed, for one line of the report."""

    what: What
    job: str
    test: str
    run: TestRun
    since: str
    """The first night of those in a row in which it failed."""
    nights: int
    """How many those are."""


def changes(nights: Sequence[NightRun]) -> list[NightChange]:
    """The last night against those before it: each test against the last time that it was known."""
    found = []
    tonight = nights[-1]
    for job in tonight.jobs.values():
        for test, run in job.tests.items():
            if run.fails is None:
                continue
            failed = _failed_before(nights[:-1], job.name, test)
            if run.fails:
                since = [*failed, tonight.id]
                what = What.STILL_FAILS if failed else What.NEWLY_FAILS
                found.append(NightChange(what, job.name, test, run, since[0], len(since)))
            elif failed and run.last.outcome == "passed":
                found.append(
                    NightChange(What.NEWLY_PASSES, job.name, test, run, failed[0], len(failed))
                )
    return found


def _failed_before(nights: Sequence[NightRun], job: str, test: str) -> list[str]:
    """The nights in a row, up to the last in which anything is known, in which a test failed."""
    failed: list[str] = []
    for night in reversed(nights):
        run = night.jobs[job].tests.get(test) if job in night.jobs else None
        if run is None or run.fails is None:
            continue
        if not run.fails:
            break
        failed.insert(0, night.id)
    return failed


@dataclasses.dataclass(frozen=True)
class Flake:
    """A test whose results differ where nothing else does."""

    job: str
    test: str
    flaky: int
    """Nights with the rarer outcome of their commit, or with a pass at the second attempt only."""
    runs: int
    """Nights in which it was run."""
    last: str
    """The last of the flaky nights."""

    @property
    def rate(self) -> float:
        """0 to 1."""
        return self.flaky / self.runs


def flakes(nights: Sequence[NightRun]) -> list[Flake]:
    """The flaky tests, the worst first. A job's name has its kernel in it."""
    seen: dict[tuple[str, str], list[tuple[NightRun, TestRun]]] = collections.defaultdict(list)
    for night in nights:
        for job in night.jobs.values():
            for test, run in job.tests.items():
                if run.last.outcome != "skipped":
                    seen[job.name, test].append((night, run))
    found = []
    for (job_name, test), runs in seen.items():
        flaky = _flaky_nights(runs)
        if flaky:
            last = [night.id for night, _ in runs if night.id in flaky][-1]
            found.append(Flake(job_name, test, len(flaky), len(runs), last))
    return sorted(found, key=lambda flake: (-flake.rate, -flake.flaky, flake.job, flake.test))


def _flaky_nights(runs: Sequence[tuple[NightRun, TestRun]]) -> set[str]:
    flaky = set()
    by_commit = collections.defaultdict(list)
    for night, run in runs:
        if run.fails is False and "failed" in run.before:
            flaky.add(night.id)
        if comparable(night.project) and run.fails is not None:
            by_commit[night.project].append((night.id, run.fails))
    for outcomes in by_commit.values():
        failed = [name for name, fails in outcomes if fails]
        passed = [name for name, fails in outcomes if not fails]
        if failed and passed:
            flaky.update(failed if len(failed) <= len(passed) else passed)
    return flaky


@dataclasses.dataclass(frozen=True)
class Trend:
    """One figure over the nights, a series for each system that was measured."""

    name: str
    unit: str
    series: Mapping[str, Sequence[tuple[int, float]]]
    """By kernel and RAM: the night's index and the value."""


def trends(nights: Sequence[NightRun]) -> list[Trend]:
    """All that was measured, and the mutants' kill rate where there were some."""
    found: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    for index, night in enumerate(nights):
        for job in night.jobs.values():
            memory = f", {job.memory_mib} MiB" if job.memory_mib is not None else ""
            for key, value in job.samples.items():
                series = found.setdefault(key, {})
                series.setdefault(f"Linux {job.kernel}{memory}", []).append((index, value))
    for index, night in enumerate(nights):
        for rate in kill_rates(night):
            series = found.setdefault(("mutants caught", "%"), {})
            series.setdefault(f"Linux {rate.kernel}", []).append((index, rate.percent))
    return [Trend(name, unit, series) for (name, unit), series in found.items()]


@dataclasses.dataclass(frozen=True)
class KillRate:
    """How many of a kernel's mutants a test noticed."""

    kernel: str
    killed: int
    of: int

    @property
    def percent(self) -> float:
        """0 to 100."""
        return 100.0 * self.killed / self.of


def kill_rates(night: NightRun) -> list[KillRate]:
    """By kernel. Harmless changes, and mutants of which nothing is known, do not count."""
    counts: dict[str, list[bool]] = collections.defaultdict(list)
    for job in night.jobs.values():
        for mutant in job.mutants:
            known = mutant.status not in _UNKNOWN | {MutantStatus.OTHER_KERNEL.value}
            if mutant.kind == "mutant" and known:
                counts[job.kernel].append(mutant.status in _GOOD)
    return [KillRate(kernel, sum(good), len(good)) for kernel, good in sorted(counts.items())]
