# SPDX-License-Identifier: MIT
"""``--qemu-results FILE``, and who reads it while it grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testrun.result import CaseResult
from harness.testrun.suite import LIVE, Suite, stopped_early
from tests.unit.plugin.conftest import WORKER

pytest_plugins = ["pytester"]
STOP = "live.jsonl.stop"

TEST = """
import pytest
from harness.errors import HarnessError

def test_good(): pass

def test_bad(): assert 1 == 2

@pytest.mark.skip(reason="no device")
def test_skipped(): pass

@pytest.mark.xfail(reason="known")
def test_known(): assert False

@pytest.fixture
def lost():
    raise HarnessError("QEMU died")

def test_lost(lost): pass

@pytest.fixture
def late():
    yield
    assert False, "too late"

def test_late(late): pass
"""


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_each_result_is_a_line(pytester: pytest.Pytester, workers: str) -> None:
    pytester.makeini("[pytest]\n")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(test_it=TEST)
    pytester.runpytest_inprocess("--qemu-results", "live.jsonl", "-n", workers)
    rows = (pytester.path / "live.jsonl").read_text().splitlines()
    cases = {case.test.rpartition("::")[2]: case for case in (_case(row) for row in rows)}
    assert {name: (case.outcome, case.verdict) for name, case in cases.items()} == {
        "test_good": ("passed", ""),
        "test_bad": ("failed", "product"),
        "test_skipped": ("skipped", ""),
        "test_known": ("xfailed", ""),
        "test_lost": ("failed", "infrastructure"),
        "test_late": ("failed", "infrastructure"),
    }
    assert cases["test_bad"].message.startswith("assert 1 == 2")
    assert "QEMU died" in cases["test_lost"].message.partition("\n")[0]
    assert len(rows) == len(cases)


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_a_run_ends_once_enough_is_known(pytester: pytest.Pytester, workers: str) -> None:
    pytester.makeini("[pytest]\n")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    tests = "".join(f"def test_{number}(): assert False\n" for number in range(9))
    stop = f"import pathlib\ndef test_stop(): pathlib.Path({STOP!r}).touch()\n"
    pytester.makepyfile(test_it=f"{stop}{tests}")
    (pytester.path / STOP).touch()  # left by an earlier run
    result = pytester.runpytest_inprocess(
        "--qemu-results", "live.jsonl", "-n", workers, "--maxschedchunk=1"
    )
    rows = (pytester.path / "live.jsonl").read_text().splitlines()
    assert 1 <= len(rows) < 6
    assert stopped_early(result.stdout.str())


def test_a_run_that_had_all_tests_was_not_ended() -> None:
    assert not stopped_early("1 failed\nE   stopping after 3 failures\n")
    assert stopped_early("!!!!!!! stopping after 3 failures !!!!!\n")


def _case(row: str) -> CaseResult:
    return CaseResult(**json.loads(row))


def test_a_reader_is_told_of_whole_lines_only(tmp_path: Path) -> None:
    """It may look while a line is written."""
    told: list[CaseResult] = []
    (tmp_path / "cache").mkdir()
    suite = Suite(tmp_path / "cache", tmp_path / "private", on_case=told.append)
    row = json.dumps({"test": "a", "outcome": "passed"})
    (tmp_path / LIVE).write_text(f"{row}\n{row[:9]}")
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert suite._wait(process, tmp_path / LIVE, 60) == 0
    assert told == [CaseResult("a", "passed")]
