# SPDX-License-Identifier: MIT
"""A night as KCIDB takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.nightly.database import Database
from harness.nightly.job import JobKind
from harness.nightly.kcidb import ORIGIN, document, night_of
from tests.unit.nightly.fake import TEST, add_night, job, mutated, with_test

PASSED, FAILED = with_test("passed"), with_test("failed")
LOST = with_test("failed", verdict="infrastructure")


def night(tmp_path: Path, jobs: dict[Any, Any]) -> dict[str, Any]:
    add_night(tmp_path / "db", "n1", jobs)
    return last_night(tmp_path / "db")


def last_night(path: Path, origin: str = ORIGIN) -> dict[str, Any]:
    with Database(path) as database:
        return document(night_of(database), origin)


def test_each_kernel_is_a_checkout_and_a_build_with_its_tests(tmp_path: Path) -> None:
    data = night(tmp_path, {job(): [PASSED]})
    (checkout,), (build,), (test,) = data["checkouts"], data["builds"], data["tests"]
    assert build["checkout_id"] == checkout["id"]
    assert test["build_id"] == build["id"]
    assert test["status"] == "PASS"
    assert "n1" in checkout["comment"]


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    data = night(tmp_path, {job(): [LOST, FAILED]})
    assert [test["status"] for test in data["tests"]] == ["FAIL"]
    data = night(tmp_path / "other", {job(): [LOST, LOST]})
    assert [test["status"] for test in data["tests"]] == ["MISS"]


def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no database"):
        last_night(tmp_path / "db")


def test_the_package_s_schema_takes_it(tmp_path: Path) -> None:
    schema = pytest.importorskip("kcidb_io").schema
    schema.LATEST.validate(night(tmp_path, {job(): [PASSED]}))


def test_two_jobs_with_one_test_and_a_job_of_mutants(tmp_path: Path) -> None:
    jobs = {
        job(): [PASSED],
        job("6.1/512M/layouts"): [FAILED],
        job("6.12/512M/cma", kernel="6.12"): [PASSED],
        job("6.1/mutants", JobKind.MUTANTS): [mutated(a="KILLED")],
    }
    data = night(tmp_path, jobs)
    assert len(data["checkouts"]) == 2
    ids = [test["id"] for test in data["tests"]]
    assert len(set(ids)) == len(ids) == 4
    found = {test["comment"]: test["status"] for test in data["tests"]}
    assert found["nightly/6.1/mutants"] == "PASS"
    assert found[f"{TEST} (6.1/512M/layouts)"] == "FAIL"
