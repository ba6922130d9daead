# SPDX-License-Identifier: MIT
"""Writes one shard of one night into the database, attempt by attempt."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.nightly.attempt import Attempt
from harness.nightly.database import Database, insert
from harness.nightly.job import Job, JobStatus

SLOTS = "guests of the cluster at once"
"""Among the facts on a shard's host: how many its cluster had room for."""
_OF_A_RESULT = ("test", "outcome", "verdict", "seconds")
MESSAGE = 8000
"""Characters kept of one message."""


@dataclasses.dataclass(frozen=True)
class NightIdentity:
    """What makes the shards of a night belong together."""

    id: str
    project: str
    """Commit of the project."""
    plan: str
    """`harness.nightly.shard.plan_digest`."""
    shards: int
    jobs: int
    """In all shards."""


def now() -> str:
    """The time as it is kept."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Book:
    """The shard `number` of `night`. An attempt that was recorded is there whatever comes."""

    def __init__(
        self, database: Database, night: NightIdentity, number: int, host: Mapping[str, str]
    ) -> None:
        self._database = database
        self._night = night
        self._number = number
        self._host = json.dumps(dict(host))
        self._jobs: dict[str, int] = {}

    def open(self, jobs: Sequence[Job]) -> list[Job]:
        """Enters the night and its jobs; returns those that have still to be run.

        A shard that was ended early is gone on with. Raises `UserError` where the database has
        another night of that name.
        """
        night, time = self._night, now()
        with self._database.transaction() as connection:
            known = self._database.row("SELECT * FROM nights WHERE id = ?", night.id)
            if known is None:
                insert(connection, "nights", started=time, **dataclasses.asdict(night))
            elif any(known[name] != value for name, value in dataclasses.asdict(night).items()):
                raise UserError(
                    f"{self._database.path} has a night {night.id} of another commit, matrix or"
                    " number of shards: give this one another name with --night"
                )
            place = {"night": night.id, "number": self._number}
            if self._shard() is None:
                more = {"started": time, "ended": time, "host": self._host}
                insert(connection, "shards", **place, token=uuid.uuid4().hex, **more)
                for job in jobs:
                    self._enter(job)
        kept = {row["name"]: row for row in self._rows()}
        self._jobs = {name: row["id"] for name, row in kept.items()}
        with self._database.sound(night.id):
            return [job for job in jobs if kept[job.name]["status"] == JobStatus.NOT_RUN.value]

    def _shard(self) -> object:
        query = "SELECT 1 FROM shards WHERE night = ? AND number = ?"
        return self._database.row(query, self._night.id, self._number)

    def _rows(self) -> list[sqlite3.Row]:
        query = "SELECT * FROM jobs WHERE night = ? AND shard = ?"
        return self._database.rows(query, self._night.id, self._number)

    def _enter(self, job: Job) -> None:
        insert(
            self._database.connection,
            "jobs",
            night=self._night.id,
            shard=self._number,
            name=job.name,
            kind=job.kind.value,
            kernel=job.kernel,
            memory_mib=job.memory_mib,
            status=JobStatus.NOT_RUN.value,
        )

    def record(self, job: Job, number: int, attempt: Attempt, *, last: bool) -> None:
        """Enters attempt `number`, from 1; the `last` one decides the job's status."""
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=attempt.seconds)
        key = {"job": self._jobs[job.name], "attempt": number}
        with self._database.transaction() as connection:
            # What a night that was killed in between left of the same attempt.
            connection.execute(
                "DELETE FROM attempts WHERE job = ? AND number >= ?", (key["job"], number)
            )
            insert(
                connection,
                "attempts",
                job=key["job"],
                number=number,
                status=attempt.status.value,
                started=began.isoformat(timespec="seconds"),
                seconds=attempt.seconds,
                message=attempt.message[:MESSAGE],
                artifact=self._relative(attempt.log),
                host=attempt.host,
            )
            for result in attempt.results:
                # The transcript of a failing test has the rest.
                values = {name: getattr(result, name) for name in _OF_A_RESULT}
                values["message"] = result.message[:MESSAGE]
                values["artifact"] = self._relative(result.artifact)
                insert(connection, "results", **key, **values)
            for sample in attempt.samples:
                insert(connection, "measurements", **key, **vars(sample))
            for mutant in attempt.mutants:
                values = vars(mutant) | {"message": mutant.message[:MESSAGE]}
                insert(connection, "mutants", **key, **values)
            if last:
                connection.execute(
                    "UPDATE jobs SET status = ? WHERE id = ?", (attempt.status.value, key["job"])
                )
            connection.execute(
                "UPDATE shards SET ended = ? WHERE night = ? AND number = ?",
                (now(), self._night.id, self._number),
            )

    def _relative(self, path: Path | None) -> str:
        return "" if path is None else os.path.relpath(path, self._database.path.parent)

    def statuses(self) -> dict[str, JobStatus]:
        """What came of each job of this shard."""
        with self._database.sound(self._night.id):
            return {row["name"]: JobStatus(row["status"]) for row in self._rows()}


def last_seconds(database: Database) -> dict[str, float]:
    """How long each job took when it was last run to its end, by name."""
    rows = database.rows(
        "SELECT jobs.name, sum(attempts.seconds) AS seconds FROM jobs"
        " JOIN attempts ON attempts.job = jobs.id JOIN nights ON nights.id = jobs.night"
        " WHERE jobs.status IN (?, ?) GROUP BY jobs.id ORDER BY nights.started, nights.id",
        JobStatus.PASSED.value,
        JobStatus.FAILED.value,
    )
    return {row["name"]: row["seconds"] for row in rows}
