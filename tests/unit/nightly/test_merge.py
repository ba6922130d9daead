# SPDX-License-Identifier: MIT
"""Shards of a night become one night."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.nightly.attempt import Attempt
from harness.nightly.database import Database
from harness.nightly.history import NightRun, load
from harness.nightly.job import Job, JobStatus
from harness.nightly.merge import Merged, merge
from tests.unit.nightly.fake import PASSED, add_night, job, with_test

JOBS: Mapping[Job, Sequence[Attempt]] = {job(name): [with_test("passed")] for name in "abcde"}


def shards(
    tmp_path: Path, count: int = 2, night: str = "n", jobs: Mapping[Job, Sequence[Attempt]] = JOBS
) -> list[Path]:
    paths = [tmp_path / f"{night}-{number}" / "db" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        add_night(path, night, jobs, shard=(number, count))
    return paths


def nights(path: Path) -> list[NightRun]:
    with Database(path) as database:
        return load(database, 10)


def test_the_shards_become_one_night(tmp_path: Path) -> None:
    assert merge(shards(tmp_path), tmp_path / "all") == Merged(("n",), 2, 0)
    (night,) = nights(tmp_path / "all")
    assert sorted(night.jobs) == list("abcde")
    assert {found.status for found in night.jobs.values()} == {JobStatus.PASSED}
    assert all(len(found.tests) == 1 for found in night.jobs.values())
    assert (sorted(night.hosts), night.missing) == ([1, 2], 0)


def test_a_history_is_added_to(tmp_path: Path) -> None:
    merge(shards(tmp_path, night="1"), tmp_path / "all")
    merge(shards(tmp_path, night="2"), tmp_path / "all")
    assert [night.id for night in nights(tmp_path / "all")] == ["1", "2"]


def test_once_more_changes_nothing(tmp_path: Path) -> None:
    paths = shards(tmp_path)
    merge(paths, tmp_path / "all")
    before = nights(tmp_path / "all")
    assert merge(paths, tmp_path / "all") == Merged(("n",), 0, 2)
    assert merge([*paths, *paths], tmp_path / "all") == Merged(("n",), 0, 4)
    assert nights(tmp_path / "all") == before


def test_a_missing_shard_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    paths = shards(tmp_path, 3)
    with pytest.raises(UserError, match=r"night n lacks shard 2 of 3: .*--partial"):
        merge([paths[0], paths[2]], tmp_path / "all")
    assert list(tmp_path.glob("all*")) == []


def test_a_missing_shard_can_be_accepted_and_comes_later(tmp_path: Path) -> None:
    paths = shards(tmp_path, 3)
    merge([paths[0], paths[2]], tmp_path / "all", partial=True)
    assert nights(tmp_path / "all")[0].missing == 2
    assert merge([paths[1]], tmp_path / "all") == Merged(("n",), 1, 0)
    assert nights(tmp_path / "all")[0].missing == 0


def test_what_was_accepted_once_is_no_error_for_the_next_night(tmp_path: Path) -> None:
    lost = shards(tmp_path, 3, night="4711")
    merge([lost[0], lost[2]], tmp_path / "all", partial=True)
    tonight = shards(tmp_path, 3, night="4712")
    # The files of the night before are still there, and the runner's own has both nights.
    add_night(lost[0], "4712", JOBS, shard=(1, 3))
    assert merge([lost[0], lost[2], *tonight[1:]], tmp_path / "all").added == 3
    assert [night.missing for night in nights(tmp_path / "all")] == [2, 0]
    # So it is where the history is merged into another one.
    merge([tmp_path / "all"], tmp_path / "other")
    assert [night.missing for night in nights(tmp_path / "other")] == [2, 0]


def test_a_night_that_still_lacks_one_when_another_comes_is_an_error_again(tmp_path: Path) -> None:
    paths = shards(tmp_path, 3)
    merge([paths[0]], tmp_path / "all", partial=True)
    with pytest.raises(UserError, match="night n lacks shard 3 of 3"):
        merge(paths[:2], tmp_path / "all")


def test_two_runs_of_one_shard_are_refused_and_the_history_stays(tmp_path: Path) -> None:
    paths = shards(tmp_path)
    merge(paths, tmp_path / "all")
    before = nights(tmp_path / "all")
    again = shards(tmp_path / "again")
    with pytest.raises(UserError, match="shard 1 of night n is there already, from another run"):
        merge([*shards(tmp_path, night="o"), again[0]], tmp_path / "all")
    assert nights(tmp_path / "all") == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"project": "d" * 40}, "another commit than the shards before it"),
        ({"jobs": {**JOBS, job("f"): [PASSED]}}, "another plan (matrix, --only or --durations)"),
        ({"shard": (2, 3)}, "another plan"),
    ],
)
def test_shards_of_different_nights_are_refused(
    tmp_path: Path, other: dict[str, object], said: str
) -> None:
    first, _ = shards(tmp_path)
    arguments = {"jobs": JOBS, "shard": (2, 2), **other}
    add_night(tmp_path / "other", "n", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=re.escape(said)):
        merge([first, tmp_path / "other"], tmp_path / "all")


def test_a_shard_that_was_gone_on_with_replaces_what_was_known(tmp_path: Path) -> None:
    path = tmp_path / "db"
    add_night(path, "n", JOBS, only=list(JOBS)[:2])
    with Database(path) as database, database.transaction() as connection:
        connection.execute("UPDATE shards SET ended = '2000-01-01'")
    merge([path], tmp_path / "all")
    assert JobStatus.NOT_RUN in {
        found.status for found in nights(tmp_path / "all")[0].jobs.values()
    }
    add_night(path, "n", JOBS)
    assert merge([path], tmp_path / "all") == Merged(("n",), 1, 0)
    (night,) = nights(tmp_path / "all")
    assert {found.status for found in night.jobs.values()} == {JobStatus.PASSED}
    assert merge([path], tmp_path / "all") == Merged(("n",), 0, 1)


def test_artifacts_are_found_from_the_merged_database(tmp_path: Path) -> None:
    log = tmp_path / "n-1" / "n" / "log.txt"
    jobs = {job(): [Attempt(JobStatus.PASSED, log=log)]}
    merge(shards(tmp_path, 1, jobs=jobs), tmp_path / "deep" / "all")
    (night,) = nights(tmp_path / "deep" / "all")
    assert night.jobs["6.1/512M/cma"].artifact == "../n-1/n/log.txt"


def test_a_file_cannot_be_merged_into_itself(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, 1)
    with pytest.raises(UserError, match="both to be merged and the result"):
        merge([path], path)


@pytest.mark.parametrize("target", ["/nowhere/at/all", "all"])
def test_a_link_that_leads_nowhere_stays(tmp_path: Path, target: str) -> None:
    to = tmp_path / "all"
    to.symlink_to(target)
    with pytest.raises(UserError):
        merge(shards(tmp_path)[:1], to)
    assert to.is_symlink()


def test_a_merge_that_fails_removes_no_file_beside_its_own(tmp_path: Path) -> None:
    (tmp_path / "all-shm.txt").touch()
    (tmp_path / "broken").write_text("x")
    with pytest.raises(UserError):
        merge([tmp_path / "broken"], tmp_path / "all")
    assert {path.name for path in tmp_path.iterdir()} == {"all-shm.txt", "broken"}


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no file"):
        merge(shards(tmp_path), Path("/dev/null"))
