# SPDX-License-Identifier: MIT
"""The command: exit statuses, what is refused, and what a signal leaves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cli import app
from harness.cli import nightly as cli
from harness.errors import UserError
from harness.host.output import MARKER
from harness.host.project import ROOT
from harness.nightly.attempt import Attempt
from harness.nightly.database import Database
from harness.nightly.history import load
from harness.nightly.job import JobStatus
from tests.unit.nightly.fake import FAILED, HOST, PASSED, FakeStarter, measured, mutated, with_test

MATRIX = """
[[run]]
kernels = ["6.1", "6.12"]
tests = ["cma", "layouts"]
"""
EMPTY = Attempt(JobStatus.EMPTY)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "m.toml").write_text(MATRIX)
    return ["--matrix", str(tmp_path / "m.toml"), "--database", str(tmp_path / "db")]


def run(
    words: Sequence[str], starter: FakeStarter | None = None, unbuilt: dict[str, str] | None = None
) -> int:
    with cli.run_command.make_context("nightly", list(words)) as context:
        options = cli.NightOptions(**context.params)
    fake = starter or FakeStarter()
    return cli.run(options, lambda: fake.engine(options.jobs, unbuilt), lambda name: fake)


@pytest.mark.parametrize(
    ("attempts", "status"),
    [
        ({}, 0),
        ({"6.1/cma": [FAILED]}, 1),
        ({"6.1/cma": [mutated(m="SURVIVED")]}, 1),
        ({"6.1/cma": [HOST, HOST]}, 3),
        ({"6.1/cma": [HOST, PASSED]}, 0),
        ({"6.1/cma": [HOST, HOST], "6.1/layouts": [FAILED]}, 1),
        ({"6.1/cma": [EMPTY]}, 2),
        ({"6.1/cma": [EMPTY], "6.1/layouts": [HOST, HOST]}, 2),
        ({"6.1/cma": [with_test("xfailed")]}, 0),
    ],
)
def test_the_exit_status(files: list[str], attempts: dict[str, list[Attempt]], status: int) -> None:
    assert run(files, FakeStarter(**attempts)) == status


def test_a_kernel_that_is_not_built_is_infrastructure(files: list[str]) -> None:
    starter = FakeStarter()
    assert run(files, starter, {"6.12": "no space"}) == 3
    assert [name for name, _, _ in starter.started] == ["6.1/cma", "6.1/layouts"]


def test_artifacts_lie_beside_the_database(files: list[str], tmp_path: Path) -> None:
    starter = FakeStarter()
    run([*files, "--night", "n"], starter)
    assert starter.started[0][1] == tmp_path / "n" / "6.1" / "cma" / "attempt-1"


def test_shards_run_all_jobs_once_and_can_be_merged(files: list[str], tmp_path: Path) -> None:
    ran = []
    databases = []
    for number in (1, 2, 3):
        starter = FakeStarter()
        databases.append(str(tmp_path / f"db-{number}"))
        words = [*files, "--database", databases[-1], "--shard", f"{number}/3", "--night", "n"]
        assert run(words, starter) == 0
        ran += [name for name, _, _ in starter.started]
    assert sorted(ran) == ["6.1/cma", "6.1/layouts", "6.12/cma", "6.12/layouts"]
    assert app.main(["nightly", "merge", *databases, "-o", str(tmp_path / "all")]) == 0
    assert app.main(["nightly", "report", "--database", str(tmp_path / "all")]) == 0
    assert "All as expected" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("report --database", "UPDATE jobs SET status = 'nonsense'"),
        ("report --ktap r.ktap --database", "UPDATE results SET outcome = ''"),
        ("report --database", "UPDATE measurements SET value = 9e999"),
        ("merge -o all", "UPDATE nights SET shards = 9223372036854775807"),
        ("merge -o all", "UPDATE results SET attempt = 7"),
        ("--matrix m.toml --night n --database", "UPDATE jobs SET status = 'nonsense'"),
        ("--matrix m.toml --night n --database", "UPDATE jobs SET name = id"),
    ],
)
def test_a_value_that_no_night_writes_is_told(
    files: list[str],
    tmp_path: Path,
    words: str,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts = {"6.1/cma": [with_test("failed")], "6.12/cma": [measured(3.0)]}
    run([*files, "--night", "n"], FakeStarter(**attempts))
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect("db")) as damaged, damaged:
        damaged.execute(change)
    monkeypatch.setattr(cli, "open_engine", lambda *_: FakeStarter().engine(1))
    monkeypatch.setattr(cli, "check_installed", lambda: None)
    assert app.main(["nightly", *words.split(), "db"]) == 2
    assert re.search(r"db: night n has a value that no .*the file was", capsys.readouterr().err)


def test_a_shard_without_the_night_s_name_is_refused(files: list[str]) -> None:
    with pytest.raises(UserError, match="--shard needs --night"):
        run([*files, "--shard", "1/2"])


def test_only_the_named_jobs_are_run(files: list[str]) -> None:
    starter = FakeStarter()
    run([*files, "--only", "*/layouts"], starter)
    assert [name for name, _, _ in starter.started] == ["6.1/layouts", "6.12/layouts"]
    with pytest.raises(UserError, match="--only 7: no job is called so"):
        run([*files, "--only", "7"])


def test_the_list_is_printed_and_nothing_is_run(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*files, "--list", "--shard", "1/2"]) == 0
    assert capsys.readouterr().out == "6.1/cma\n6.12/cma\n"
    assert not (tmp_path / "db").exists()


def test_prune_removes_what_its_own_nights_left_and_nothing_else(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*files, "--night", "n"]) == 0
    places = [tmp_path / name for name in ("n", "gate")]
    for place in places:
        place.mkdir(exist_ok=True)
        (place / MARKER).touch()
        os.utime(place, (0, 0))
    with Database(tmp_path / "db") as database, database.transaction() as connection:
        connection.execute("INSERT INTO nights VALUES ('./gate', '', '', '', 1, 0, 0)")
    # The night's lock is this process's own.
    monkeypatch.setattr("harness.host.output.FileLock.try_exclusive", lambda lock: True)
    words = ["nightly", "prune", "--database", str(tmp_path / "db"), "--older-than"]
    assert app.main([*words, "1"]) == 0
    assert [place.exists() for place in places] == [False, True]
    (tmp_path / "no-db").touch()
    assert app.main([*words, "1", "--database", str(tmp_path / "no-db")]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--matrix", "none.toml"],
        ["report", "--database", "none"],
        ["prune", "--older-than", "1", "--database", "none"],
        ["merge", "none", "-o", "all"],
        ["--durations", "none"],
    ],
)
def test_bad_input_is_told_in_a_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["nightly", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "none" in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--shard", "3/2"], ["--shard", "x"], ["--night", "a/b"], ["-j", "0"], ["merge"]]
)
def test_a_wrong_option_has_status_2(words: list[str]) -> None:
    assert app.main(["nightly", *words]) == 2


A_NIGHT = """
import signal
import sys
from harness.cli import app
from harness.cli import nightly as cli
from harness.engine.local import LocalEngine
from harness.engine.process import TaskProcess
from harness.engine.task import Task
from tests.unit.nightly.fake import FakeStarter

class Starter(FakeStarter):
    def task(self, job, number, before):
        self.before[f"{job.name}/attempt-{number}"] = before
        words = ["bash", "-c", "sleep 600 & echo $! $$ > pids.new; mv pids.new pids; wait"]
        name = f"{job.name}/attempt-{number}"
        return Task(name, ("env", "-C", "{here}", *words), 600.0)

    def start(self, task, directory):
        if task.name.startswith("6.1/cma/"):
            return super().start(task, directory)
        return TaskProcess(task, directory)

# As from a terminal, also where this run was started with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
whole = cli.run
starter = Starter()
cli.run = lambda options, engine: whole(
    options, lambda: LocalEngine(2, start=starter.start), lambda name: starter
)
sys.exit(app.main(["nightly", *sys.argv[1:]]))
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow("a whole night in a process of its own, twice")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_running_and_the_results_so_far(
    files: list[str],
    tmp_path: Path,
    number: signal.Signals,
    status: int,
    request: pytest.FixtureRequest,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", A_NIGHT, *files, "--night", "n", "-j", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def end_it() -> None:
        process.terminate()
        process.wait(30)

    request.addfinalizer(end_it)
    place = tmp_path / "n" / "6.1" / "layouts" / "attempt-1" / "pids"
    other = tmp_path / "n" / "6.12" / "cma" / "attempt-1" / "pids"
    end = time.monotonic() + 60
    while not (place.exists() and other.exists()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    pids = [int(pid) for path in (place, other) for pid in path.read_text().split()]
    assert all(map(alive, pids))
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    # They were signalled; on a loaded host their end takes a moment.
    end = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    assert "go on with --night n" in output
    with Database(tmp_path / "db") as database:
        (night,) = load(database, 1)
    assert {name: found.status for name, found in night.jobs.items()} == {
        "6.1/cma": JobStatus.PASSED,
        "6.1/layouts": JobStatus.NOT_RUN,
        "6.12/cma": JobStatus.NOT_RUN,
        "6.12/layouts": JobStatus.NOT_RUN,
    }
    starter = FakeStarter()
    assert run([*files, "--night", "n"], starter) == 0
    assert [name for name, _, _ in starter.started] == ["6.1/layouts", "6.12/cma", "6.12/layouts"]
