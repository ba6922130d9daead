# SPDX-License-Identifier: MIT
"""Puts the shards of nights together into one database, which may have a history already."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.nightly.database import CHILDREN, Database, insert

_SAME = {"project": "commit", "plan": "plan (matrix, --only or --durations)", "shards": "--shard"}
MOST = 10**6
"""Shards that a night may have."""
_PATHS = ("attempts", "results")
"""Tables with a column ``artifact``."""


@dataclasses.dataclass(frozen=True)
class Merged:
    """What was done."""

    nights: tuple[str, ...]
    """The nights that the files are about."""
    added: int
    """Shards that are new, or were gone on with since."""
    unchanged: int
    """Shards that were there already."""


def merge(sources: Sequence[Path], to: Path, *, partial: bool = False) -> Merged:
    """Adds all shards of `sources` to the database `to`: all of them, or none.

    A shard that is there already is skipped. Raises `UserError` for two different runs of one
    shard, shards that do not belong together, and, unless `partial`, a night that lacks one; but
    not for a night of which that was accepted before, and which has got nothing new.
    """
    for source in sources:
        if source.absolute() == to.absolute():
            raise UserError(f"{source} is both to be merged and the result: name another -o")
    files = [to.with_name(to.name + suffix) for suffix in ("", "-wal", "-shm")]
    made = [path for path in files if not os.path.lexists(path)]
    try:
        return _merge(sources, to, partial)
    except BaseException:
        if to in made:
            for path in made:
                path.unlink(missing_ok=True)
        raise


def _merge(sources: Sequence[Path], to: Path, partial: bool) -> Merged:
    nights: dict[str, None] = {}
    grown: set[str] = set()
    added = unchanged = 0
    with Database(to, create=True) as target, target.transaction():
        # A merge leaves no night that lacks a shard, unless that was accepted.
        accepted = {night["id"] for night in target.rows("SELECT id FROM nights")}
        for path in sources:
            with Database(path) as source:
                for night in source.rows("SELECT * FROM nights ORDER BY started, id"):
                    nights[night["id"]] = None
                    if night["partial"]:
                        accepted.add(night["id"])
                    with source.sound(night["id"]):
                        if night["shards"] > MOST:
                            raise ValueError(f"{night['shards']} shards")
                    _enter_night(target, night, path)
                    for shard in _shards(source, night["id"]):
                        with source.sound(night["id"]):
                            new = _add_shard(source, target, shard)
                        added += new
                        unchanged += not new
                        if new and not night["partial"]:
                            grown.add(night["id"])
        for name in nights:
            _check_whole(target, name, partial or (name in accepted and name not in grown))
    return Merged(tuple(nights), added, unchanged)


def _shards(database: Database, night: str) -> list[sqlite3.Row]:
    return database.rows("SELECT * FROM shards WHERE night = ? ORDER BY number", night)


def _enter_night(target: Database, night: sqlite3.Row, path: Path) -> None:
    known = target.row("SELECT * FROM nights WHERE id = ?", night["id"])
    if known is None:
        insert(target.connection, "nights", **dict(night))
        return
    for column, said in _SAME.items():
        if known[column] != night[column]:
            raise UserError(
                f"{path}: night {night['id']} has another {said} than the shards before it"
                f" ({night[column]}, not {known[column]}): they are not of one night"
            )
    if night["started"] < known["started"]:
        target.connection.execute(
            "UPDATE nights SET started = ? WHERE id = ?", (night["started"], night["id"])
        )


def _add_shard(source: Database, target: Database, shard: sqlite3.Row) -> bool:
    """Copies a shard; False where it is there already."""
    night, number = shard["night"], shard["number"]
    known = target.row("SELECT * FROM shards WHERE night = ? AND number = ?", night, number)
    if known is not None:
        if known["token"] != shard["token"]:
            raise UserError(
                f"{source.path}: shard {number} of night {night} is there already, from another"
                " run: leave one of the two out"
            )
        if known["ended"] >= shard["ended"]:
            return False
        # It was gone on with: what is known of it now replaces what was known before.
        target.connection.execute("DELETE FROM shards WHERE token = ?", (shard["token"],))
    insert(target.connection, "shards", **dict(shard))
    moved = _mover(source.path.parent, target.path.parent)
    jobs = source.rows("SELECT * FROM jobs WHERE night = ? AND shard = ?", night, number)
    for job in jobs:
        there = target.row("SELECT 1 FROM jobs WHERE night = ? AND name = ?", night, job["name"])
        if there is not None:
            raise UserError(
                f"{source.path}: job {job['name']} of night {night} is in two shards: they were"
                " planned differently"
            )
        new = insert(target.connection, "jobs", **{**dict(job), "id": None})
        for table in CHILDREN:
            for row in source.rows(f"SELECT * FROM {table} WHERE job = ?", job["id"]):
                values = {**dict(row), "job": new}
                if table in _PATHS:
                    values["artifact"] = moved(row["artifact"])
                insert(target.connection, table, **values)
    return True


def _mover(old: Path, new: Path) -> Callable[[str], str]:
    """Makes paths that are relative to `old` relative to `new`."""

    def move(path: str) -> str:
        return os.path.relpath(old / path, new) if path else ""

    return move


def _check_whole(target: Database, name: str, partial: bool) -> None:
    night = target.row("SELECT * FROM nights WHERE id = ?", name)
    assert night is not None
    there = {shard["number"] for shard in _shards(target, name)}
    missing = [str(n) for n in range(1, night["shards"] + 1) if n not in there]
    if missing and not partial:
        raise UserError(
            f"night {name} lacks shard {', '.join(missing)} of {night['shards']}: give the file"
            " too, or accept that with --partial"
        )
    known = {"partial": int(bool(missing)), "id": name}
    target.connection.execute("UPDATE nights SET partial = :partial WHERE id = :id", known)
    jobs = target.rows("SELECT name FROM jobs WHERE night = ?", name)
    if not missing and len(jobs) != night["jobs"]:
        raise UserError(
            f"night {name} has {len(jobs)} jobs in all its shards, and {night['jobs']} were planned"
        )
