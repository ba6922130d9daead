# SPDX-License-Identifier: MIT
"""What the report says of the last nights: changes, flakes, trends, kill rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.nightly.attempt import Attempt, MutantResult
from harness.nightly.database import Database
from harness.nightly.history import (
    NightRun,
    What,
    changes,
    flakes,
    kill_rates,
    load,
    trends,
)
from harness.nightly.job import JobKind, JobStatus
from tests.unit.nightly.fake import COMMIT, TEST, add_night, job, measured, mutated, with_test

P, F, X, S = (with_test(word) for word in ("passed", "failed", "xfailed", "skipped"))
H = with_test("failed", verdict="infrastructure")


def history(tmp_path: Path, *attempts: list[Attempt], projects: str = "") -> list[NightRun]:
    """A night for each list of attempts of one job; `projects` has a letter for each commit."""
    for number, given in enumerate(attempts):
        letter = projects[number] if projects else "c"
        project = f"{'0' * 40}-dirty" if letter == "D" else letter * 40
        add_night(tmp_path / "db", f"n{number}", {job(): given}, project=project)
    with Database(tmp_path / "db") as database:
        return load(database, 14)


@pytest.mark.parametrize(
    ("attempts", "what", "nights"),
    [
        ([[P], [F]], What.NEWLY_FAILS, 1),
        ([[F]], What.NEWLY_FAILS, 1),
        ([[P], [F], [F], [F]], What.STILL_FAILS, 3),
        ([[F], [H], [F]], What.STILL_FAILS, 2),
        ([[P], [S], [F]], What.NEWLY_FAILS, 1),
        ([[P], [F], [F], [P]], What.NEWLY_PASSES, 2),
        ([[X], [F]], What.NEWLY_FAILS, 1),
        ([[F], [P], [F]], What.NEWLY_FAILS, 1),
    ],
)
def test_a_test_is_compared_with_the_last_time_it_was_known(
    tmp_path: Path, attempts: list[list[Attempt]], what: What, nights: int
) -> None:
    (change,) = changes(history(tmp_path, *attempts))
    assert (change.what, change.job, change.test) == (what, "6.1/512M/cma", TEST)
    assert change.nights == nights


@pytest.mark.parametrize("attempts", [[[P], [P]], [[F], [H]], [[F], [X]], [[P], [S]], [[X], [P]]])
def test_what_is_as_before_or_not_known_is_no_change(
    tmp_path: Path, attempts: list[list[Attempt]]
) -> None:
    assert changes(history(tmp_path, *attempts)) == []


@pytest.mark.parametrize(
    ("attempts", "projects", "flaky", "runs"),
    [
        ([[P], [F], [P], [P]], "cccc", 1, 4),
        ([[F], [P], [F]], "ccc", 1, 3),
        ([[F], [P]], "cc", 1, 2),
        ([[P], [S], [F]], "ccc", 1, 2),
        ([[P], [H, F]], "cd", 0, 0),
        ([[H, P], [P]], "cd", 1, 2),
        ([[H, P], [F]], "cc", 2, 2),
        ([[P], [F]], "cd", 0, 0),
        ([[P], [F], [P], [F]], "ccdd", 2, 4),
        ([[P], [F]], "DD", 0, 0),
        ([[P], [H], [S]], "ccc", 0, 0),
        ([[F], [F]], "cc", 0, 0),
    ],
)
def test_the_flake_rate(
    tmp_path: Path, attempts: list[list[Attempt]], projects: str, flaky: int, runs: int
) -> None:
    found = flakes(history(tmp_path, *attempts, projects=projects))
    assert [(flake.flaky, flake.runs) for flake in found] == ([(flaky, runs)] if flaky else [])
    if found:
        assert found[0].rate == flaky / runs


def test_only_the_last_nights_count(tmp_path: Path) -> None:
    history(tmp_path, [F], [P], [P])
    with Database(tmp_path / "db") as database:
        assert flakes(load(database, 2)) == []
        assert len(flakes(load(database, 3))) == 1


def test_a_trend_has_a_series_for_each_system(tmp_path: Path) -> None:
    for number, value in enumerate((1300.0, 1400.0)):
        jobs = {
            job("a", JobKind.MEASURE): [measured(value)],
            job("m", JobKind.MUTANTS): [mutated(x="caught")],
        }
        add_night(tmp_path / "db", f"n{number}", jobs)
    with Database(tmp_path / "db") as database:
        boot, rate = trends(load(database, 5))
    assert (boot.name, boot.unit) == ("boot", "ms")
    assert boot.series == {"Linux 6.1, 512 MiB": [(0, 1300.0), (1, 1400.0)]}
    assert (rate.unit, rate.series) == ("%", {"Linux 6.1": [(0, 100.0), (1, 100.0)]})


def test_the_kill_rate_counts_mutants_of_which_something_is_known(tmp_path: Path) -> None:
    given = {"a": "caught", "b": "caught elsewhere", "c": "SURVIVED"}
    unknown = {"d": "infrastructure", "e": "unstable test", "f": "other kernel"}
    one, two = job("m", JobKind.MUTANTS), job("n", JobKind.MUTANTS)
    harmless = MutantResult("h", "nothing", "harmless", "FALSE ALARM")
    others = Attempt(JobStatus.FAILED, mutants=(*mutated(g="caught").mutants, harmless))
    jobs = {one: [mutated(**given, **unknown)], two: [others]}
    add_night(tmp_path / "db", "n", jobs, project=COMMIT)
    with Database(tmp_path / "db") as database:
        (rate,) = kill_rates(load(database, 1)[0])
    assert (rate.kernel, rate.killed, rate.of, rate.percent) == ("6.1", 3, 4, 75.0)


def test_the_second_attempt_at_a_mutant_counts(tmp_path: Path) -> None:
    first, second = mutated(a="infrastructure", b="caught"), mutated(a="caught")
    add_night(tmp_path / "db", "n", {job("m", JobKind.MUTANTS): [first, second]})
    with Database(tmp_path / "db") as database:
        (rate,) = kill_rates(load(database, 1)[0])
    assert (rate.killed, rate.of) == (2, 2)


def test_an_empty_database_is_told(tmp_path: Path) -> None:
    with (
        Database(tmp_path / "db", create=True) as database,
        pytest.raises(UserError, match="has no night yet"),
    ):
        load(database, 1)
