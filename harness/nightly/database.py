# SPDX-License-Identifier: MIT
"""The file that keeps all nights: SQLite, with a version of its schema.

Paths in it are relative to the directory that the file is in.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import HarnessError, UserError

SCHEMA = 2
_HEADER = b"SQLite format 3\0"
BUSY_SECONDS = 30.0
"""How long a writer waits for another."""
_TABLES = """
CREATE TABLE nights (
    id TEXT PRIMARY KEY,
    started TEXT NOT NULL,       -- ISO 8601, UTC
    project TEXT NOT NULL,       -- commit; "-dirty" behind it where files were changed
    plan TEXT NOT NULL,          -- harness.nightly.shard.plan_digest
    shards INTEGER NOT NULL,     -- how many there are, whether they are here or not
    jobs INTEGER NOT NULL,       -- the same of jobs
    partial INTEGER NOT NULL DEFAULT 0  -- 1: it was accepted that shards are missing
) STRICT;
CREATE TABLE shards (
    night TEXT NOT NULL REFERENCES nights ON DELETE CASCADE,
    number INTEGER NOT NULL,     -- from 1
    token TEXT NOT NULL UNIQUE,  -- tells two runs of one shard apart
    started TEXT NOT NULL,
    ended TEXT NOT NULL,         -- of what is known last
    host TEXT NOT NULL,          -- JSON object of words
    PRIMARY KEY (night, number)
) STRICT;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    night TEXT NOT NULL,
    shard INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    kernel TEXT NOT NULL,
    memory_mib INTEGER,          -- NULL: as the tests say
    status TEXT NOT NULL,        -- harness.nightly.job.JobStatus
    UNIQUE (night, name),
    FOREIGN KEY (night, shard) REFERENCES shards ON DELETE CASCADE
) STRICT;
CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number INTEGER NOT NULL,     -- from 1
    status TEXT NOT NULL,
    started TEXT NOT NULL,
    seconds REAL NOT NULL,
    message TEXT NOT NULL,
    artifact TEXT NOT NULL,      -- the log; empty for none
    host TEXT NOT NULL DEFAULT '',  -- of a cluster; empty: the shard's own
    PRIMARY KEY (job, number)
) STRICT;
CREATE TABLE results (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    test TEXT NOT NULL,          -- pytest's node
    outcome TEXT NOT NULL,       -- passed, failed, skipped, xfailed
    verdict TEXT NOT NULL,       -- harness.errors.Verdict; empty unless failed
    seconds REAL NOT NULL,
    message TEXT NOT NULL,
    artifact TEXT NOT NULL,      -- directory of its transcripts; empty for none
    PRIMARY KEY (job, attempt, test),
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT;
CREATE TABLE measurements (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    value REAL NOT NULL,
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT;
CREATE INDEX measurements_job ON measurements (job);
CREATE TABLE mutants (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,          -- mutant, harmless
    status TEXT NOT NULL,        -- harness.mutants.runner.Status
    test TEXT NOT NULL,          -- the one that turned red
    verdict TEXT NOT NULL,
    message TEXT NOT NULL,
    build_seconds REAL NOT NULL,
    test_seconds REAL NOT NULL,
    PRIMARY KEY (job, attempt, name),
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT;
"""
_SINCE_1 = (
    "ALTER TABLE nights ADD COLUMN partial INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN host TEXT NOT NULL DEFAULT ''",
)
"""What makes schema 2 of schema 1."""
CHILDREN = ("attempts", "results", "measurements", "mutants")
"""Tables whose rows belong to a job."""


class Database:
    """An open file. Close it, or use it as a context manager."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Opens it. Raises `UserError` for a file that is none, or of a newer schema."""
        self.path = path.absolute()
        if not create and not path.is_file():
            raise UserError(f"there is no database {path}")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file, so no database of nights can be in it")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"cannot open {path}: {error}") from error
        self.connection.row_factory = sqlite3.Row
        try:
            self._check(create)
        except sqlite3.OperationalError as error:
            self.close()
            raise HarnessError(f"cannot use {path}: {error}") from error
        except sqlite3.DatabaseError as error:
            self.close()
            if _has_header(path):
                raise self._damaged(error) from error
            raise UserError(f"{path} is no database of nights: {error}") from error
        except BaseException:
            self.close()
            raise

    def _check(self, create: bool) -> None:
        connection = self.connection
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise UserError(
                f"{self.path} has schema {version}, and this project knows schemas up to {SCHEMA}:"
                " use the newer project that wrote it"
            )
        connection.execute("PRAGMA foreign_keys = ON")
        if version == 0:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables or not create:
                raise UserError(f"{self.path} is no database of nights: it has no schema of ours")
            self._make()
        elif version < SCHEMA:
            self._bring_up()

    def _bring_up(self) -> None:
        with self.transaction():
            # Another process may have done it in between.
            if self.connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
                for statement in _SINCE_1:
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _make(self) -> None:
        # Readers do not block the writer, and a killed writer leaves only whole transactions.
        self.connection.execute("PRAGMA journal_mode = WAL")
        with self.transaction():
            # Another process may have made it in between.
            if self.connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _TABLES.split(";\n"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {SCHEMA}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's changes, or none."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise HarnessError(f"cannot write {self.path}: {error}") from error
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # there may be none any more
                self.connection.execute("ROLLBACK")
            raise

    def _damaged(self, error: sqlite3.Error) -> HarnessError:
        return HarnessError(
            f"{self.path} is damaged ({error}): the next night moves it aside and makes a new one"
        )

    @contextlib.contextmanager
    def sound(self, night: str) -> Iterator[None]:
        """Raises `UserError` where a value of a night, read in the block, is none that we write."""
        try:
            yield
        except (ValueError, KeyError, TypeError, ArithmeticError, sqlite3.IntegrityError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{self.path}: night {night} has a value that no night writes ({why}): the file was"
                " changed; take a copy from before that"
            ) from error

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """All rows of a query. Raises `HarnessError` where they cannot be read."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row; raises as `rows` does."""
        try:
            found: sqlite3.Row | None = self.connection.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        return found

    def close(self) -> None:
        """Ends it."""
        self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _has_header(path: Path) -> bool:
    """Whether a file begins as SQLite's do (fileformat2.html, 1.3)."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def _complaint(path: Path) -> str:
    """What is wrong with the pages of a database; empty for nothing, and for none."""
    if not _has_header(path):
        return ""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:
        return ""  # it is in use, or cannot be read: whoever opens it will say so
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(found.split())


def put_damaged_aside(path: Path, say: Callable[[str], object]) -> None:
    """Renames a database that is damaged, so that a new one is made in its place; that is said.

    Raises `HarnessError` where it cannot be renamed.
    """
    complaint = _complaint(path)
    if not complaint:
        return
    aside = path.with_name(f"{path.name}.damaged")
    for number in itertools.count(2):
        if not aside.exists():
            break
        aside = path.with_name(f"{path.name}.damaged.{number}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise HarnessError(f"{path} is damaged and cannot be moved: {error}") from error
    say(f"{path} is damaged ({complaint}): it is {aside.name} now, and a new one is made")


def insert(connection: sqlite3.Connection, table: str, **values: object) -> int:
    """Adds a row; returns its number. `table` and the keys are ours, never input."""
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values())
    )
    return cursor.lastrowid or 0
