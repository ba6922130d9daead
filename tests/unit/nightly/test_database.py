# SPDX-License-Identifier: MIT
"""What is written is read again; a file that is not ours, or newer, is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from harness.errors import HarnessError, UserError
from harness.gate.sample import Sample
from harness.nightly.attempt import Attempt, MutantResult
from harness.nightly.book import Book, NightIdentity, last_seconds
from harness.nightly.database import SCHEMA, Database, put_damaged_aside
from harness.nightly.history import load
from harness.nightly.job import JobKind, JobStatus
from harness.testrun.result import CaseResult
from tests.unit.nightly.fake import COMMIT, HOST, PASSED, add_night, job, measured, with_test

NIGHT = NightIdentity("n", COMMIT, "plan", 1, 2)


def test_everything_of_a_night_comes_back(tmp_path: Path) -> None:
    log, transcript = tmp_path / "n" / "log.txt", tmp_path / "n" / "t" / "transcript.txt"
    wrong = CaseResult("tests/t.py::x", "failed", "crash", "oops\nmore", 1.5, transcript)
    one = Attempt(
        JobStatus.FAILED,
        12.5,
        "",
        log,
        (wrong, CaseResult("tests/t.py::y", "xfailed", message="known")),
        (Sample("boot", "ms", 1300.5),),
        (MutantResult("m", "breaks", "mutant", "caught", "x", "crash", "why", 1.0, 2.0),),
    )
    add_night(tmp_path / "db", "n", {job(): [HOST, one]})
    with Database(tmp_path / "db") as database:
        (night,) = load(database, 5)
    assert (night.id, night.project, night.shards, night.missing) == ("n", COMMIT, 1, 0)
    assert night.hosts == {1: {"QEMU": "7.2"}}
    found = night.jobs["6.1/512M/cma"]
    assert (found.kind, found.kernel, found.memory_mib) == ("tests", "6.1", 512)
    assert (found.status, found.attempts, found.seconds) == (JobStatus.FAILED, 2, 13.5)
    assert found.artifact == "n/log.txt"
    relative = dataclasses.replace(wrong, artifact=Path("n/t/transcript.txt"))
    assert found.tests["tests/t.py::x"].last == relative
    assert found.tests["tests/t.py::y"].last.outcome == "xfailed"
    assert found.samples == {("boot", "ms"): 1300.5}
    assert found.mutants == one.mutants


def test_a_night_that_was_ended_early_is_gone_on_with(tmp_path: Path) -> None:
    first, second = job("a"), job("b")
    jobs = {first: [PASSED], second: [PASSED]}
    add_night(tmp_path / "db", "n", jobs, only=[first])
    with Database(tmp_path / "db") as database:
        assert load(database, 1)[0].jobs["b"].status is JobStatus.NOT_RUN
    add_night(tmp_path / "db", "n", {**jobs, first: [HOST]})
    with Database(tmp_path / "db") as database:
        (night,) = load(database, 5)
    assert [found.status for found in night.jobs.values()] == [JobStatus.PASSED, JobStatus.PASSED]


def test_another_night_of_the_same_name_is_refused(tmp_path: Path) -> None:
    add_night(tmp_path / "db", "n", {job(): [PASSED]})
    with pytest.raises(UserError, match="give this one another name with --night"):
        add_night(tmp_path / "db", "n", {job(): [PASSED]}, project="d" * 40)


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    add_night(tmp_path / "db", "n", {job(): [PASSED]})
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    before = (tmp_path / "db").read_bytes()
    said = f"has schema {SCHEMA + 1}, and this project knows schemas up to {SCHEMA}: use the newer"
    with pytest.raises(UserError, match=said):
        Database(tmp_path / "db", create=True)
    assert (tmp_path / "db").read_bytes() == before


def test_a_database_of_the_schema_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "db"
    add_night(path, "n", {job(): [PASSED]})
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE nights DROP COLUMN partial")
    connection.execute("ALTER TABLE attempts DROP COLUMN host")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    add_night(path, "m", {job(): [dataclasses.replace(PASSED, host="two")]})
    with Database(path) as database:
        nights = {night.id: night for night in load(database, 5)}
    assert [work.host for work in nights["m"].work] == ["two"]
    assert [work.host for work in nights["n"].work] == [""]


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(UserError, match="is no database of nights"):
        Database(tmp_path / "text", create=True)
    connection = sqlite3.connect(tmp_path / "other")
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(UserError, match="it has no schema of ours"):
        Database(tmp_path / "other", create=True)
    with pytest.raises(UserError, match="there is no database"):
        Database(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def _dies_while_it_writes(path: Path) -> None:
    with Database(path, create=True) as database:
        book = Book(database, NIGHT, 1, {})
        book.open([job("a"), job("b")])
        book.record(job("a"), 1, with_test("passed"), last=True)
        with database.transaction() as connection:
            connection.execute("UPDATE jobs SET status = 'half'")
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_that_dies_leaves_whole_attempts_only(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_dies_while_it_writes, args=(tmp_path / "db",)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with Database(tmp_path / "db") as database:
        assert database.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        (night,) = load(database, 1)
    assert [found.status for found in night.jobs.values()] == [JobStatus.PASSED, JobStatus.NOT_RUN]
    assert len(night.jobs["a"].tests) == 1


def test_the_last_durations_are_those_of_jobs_that_came_to_their_end(tmp_path: Path) -> None:
    one, two = job("a"), job("m", JobKind.MEASURE)
    add_night(tmp_path / "db", "1", {one: [with_test("passed")], two: [measured(1)]})
    add_night(tmp_path / "db", "2", {one: [HOST, with_test("failed")], two: [HOST, HOST]})
    with Database(tmp_path / "db") as database:
        assert last_seconds(database) == {"a": 3.0, "m": 3.0}


def spoil(path: Path, page: int) -> None:
    """Overwrites a page, and leaves the header of the file."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096 + (100 if page == 1 else 0))
        file.write(b"\xa5" * (3996 if page == 1 else 4096))


@pytest.mark.parametrize("page", [1, 2, 3, 5])
def test_a_damaged_page_costs_the_history_and_no_night(tmp_path: Path, page: int) -> None:
    path, said = tmp_path / "db", list[str]()
    add_night(path, "n", {job(): [with_test("failed")]})
    spoil(path, page)
    put_damaged_aside(path, said.append)
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert "db.damaged" in said[0]
    add_night(path, "m", {job(): [PASSED]})
    with Database(path) as database:
        assert [night.id for night in load(database, 5)] == ["m"]
    spoil(path, page)
    put_damaged_aside(path, said.append)
    assert "db.damaged.2" in said[1]


def test_what_is_sound_or_no_database_stays_where_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    put_damaged_aside(tmp_path / "none", said.append)
    (tmp_path / "notes").write_text("not a database\n" * 1000)
    put_damaged_aside(tmp_path / "notes", said.append)
    add_night(tmp_path / "db", "n", {job(): [PASSED]})
    put_damaged_aside(tmp_path / "db", said.append)
    assert said == []
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "db"}


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6, 7])
def test_a_report_on_a_damaged_one_is_infrastructure(tmp_path: Path, page: int) -> None:
    path = tmp_path / "db"
    add_night(path, "n", {job(): [with_test("failed")]})
    spoil(path, page)
    with contextlib.suppress(HarnessError), Database(path) as database:
        # Whatever it says: never an error of another kind.
        database.rows("SELECT * FROM nights")
        database.rows("SELECT * FROM jobs ORDER BY id")
        database.rows("SELECT * FROM results")
