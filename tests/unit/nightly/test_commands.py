# SPDX-License-Identifier: MIT
"""A job's command, and what is made of what it leaves."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from harness.engine.local import LocalEngine
from harness.engine.task import Done
from harness.gate.sample import Sample
from harness.imageset.model import ImageSet
from harness.mutants import patchfile, report
from harness.mutants.runner import MutantStatus, Result
from harness.nightly.attempt import Attempt
from harness.nightly.commands import NightCommands, read_mutants, read_samples, read_tests
from harness.nightly.job import Job, JobKind, JobStatus
from tests.unit.nightly.fake import job, mutated

CASE = '<testcase classname="tests.qemu.test_ssh" name="{}" time="1.5">{}</testcase>'
CRASH = '<properties><property name="verdict" value="crash"/></properties><failure message="oops"/>'
HOST = '<error message="no space"/>'
KNOWN = '<skipped type="pytest.xfail" message="known"/>'


def left(directory: Path, *cases: str) -> None:
    inner = "".join(CASE.format(f"test_{n}", case) for n, case in enumerate(cases))
    (directory / "junit.xml").write_text(f"<testsuites><testsuite>{inner}</testsuite></testsuites>")


def words_of(one: Job, *before: Attempt) -> str:
    task = NightCommands("night").task(one, 1, before[0] if before else None)
    return " ".join(task.words(Path("TMP/job"), "python3"))


def test_pytest_is_told_kernel_memory_and_expression() -> None:
    one = dataclasses.replace(job(), expression="a or b")
    words = words_of(one)
    assert "-m pytest --qemu" in words
    assert "--junitxml=TMP/job/junit.xml --qemu-artifacts TMP/job/tests" in words
    assert "--qemu-kernel-version 6.1 --qemu-memory 512 -k a or b tests/cma" in words
    assert "--qemu-memory" not in words_of(dataclasses.replace(one, memory_mib=None))


def test_a_variant_and_an_exploration_are_asked_for() -> None:
    assert " --qemu-variant kasan tests/cma" in words_of(
        dataclasses.replace(job(), variant="kasan")
    )
    one = dataclasses.replace(job(kind=JobKind.EXPLORE), minutes=3, variant="lockdep")
    words = words_of(one)
    assert "-m harness explore --kernel 6.1 --jobs 1 --minutes 3 --seed" in words
    assert words.endswith("--output TMP/job --variant lockdep")


@pytest.mark.parametrize(
    ("status", "found"),
    [(0, JobStatus.PASSED), (1, JobStatus.FAILED), (3, JobStatus.INFRASTRUCTURE)],
)
def test_an_exploration_ends_as_it_says(status: int, found: JobStatus, tmp_path: Path) -> None:
    one = job(kind=JobKind.EXPLORE)
    commands = NightCommands("night")
    attempt = commands.read(one, Done(commands.task(one, 1, None), tmp_path, status))
    assert attempt.status is found
    assert (attempt.message != "") is (status != 0)


def test_mutants_at_random_are_the_same_in_all_parts() -> None:
    one = dataclasses.replace(job(kind=JobKind.MUTANTS), sample=8, only=("app-*",))
    commands = []
    for part in (1, 2):
        words = words_of(dataclasses.replace(one, part=(part, 2)))
        assert "--only app-* --sample 8 --seed" in words
        assert words.endswith(f"--shard {part}/2")
        commands.append(words.rpartition(" ")[0])
    assert commands[0] == commands[1]


def test_a_second_attempt_tries_only_the_mutants_of_which_nothing_is_known() -> None:
    names = [m.name for m in patchfile.select(patchfile.read_all(), ["app-d*"])]
    one = dataclasses.replace(job(kind=JobKind.MUTANTS), only=("app-d*",))
    before = mutated(**{names[0]: "caught", names[1]: "infrastructure"})
    words = words_of(one, before)
    assert words.endswith(" ".join(f"--only {name}" for name in names[1:]))
    assert f"--only {names[0]}" not in words
    all_known = mutated(**dict.fromkeys(names, "caught"))
    words = words_of(one, all_known)
    assert words.endswith(f"--only {names[0]}"), "one, and not all of them"


@pytest.mark.parametrize(
    ("cases", "exit_status", "status"),
    [
        (["", "<skipped/>", KNOWN], 0, JobStatus.PASSED),
        ([KNOWN], 0, JobStatus.PASSED),
        (["", CRASH], 1, JobStatus.FAILED),
        ([CRASH, HOST], 1, JobStatus.FAILED),
        (["", HOST], 1, JobStatus.INFRASTRUCTURE),
        (["<skipped/>"], 0, JobStatus.EMPTY),
        ([], 5, JobStatus.EMPTY),
        ([""], 3, JobStatus.INFRASTRUCTURE),
        ([""], -15, JobStatus.INFRASTRUCTURE),
    ],
)
def test_what_came_of_the_tests(
    tmp_path: Path, cases: list[str], exit_status: int, status: JobStatus
) -> None:
    left(tmp_path, *cases)
    assert read_tests(tmp_path, exit_status).status is status


def test_pytest_that_left_nothing_is_infrastructure(tmp_path: Path) -> None:
    assert read_tests(tmp_path, 1).status is JobStatus.INFRASTRUCTURE


def test_only_failed_tests_keep_their_transcripts(tmp_path: Path) -> None:
    left(tmp_path, "", CRASH)
    place = tmp_path / "tests"
    for name in ("test_0", "test_1"):
        path = place / f"tests_qemu_test_ssh.py_{name}"
        path.mkdir(parents=True)
        (path / "transcript.txt").touch()
    (place / "templates").mkdir()
    passed, failed = read_tests(tmp_path, 1).results
    assert (passed.test, passed.outcome, passed.artifact) == (
        "tests/qemu/test_ssh.py::test_0",
        "passed",
        None,
    )
    assert (failed.outcome, failed.verdict, failed.message) == ("failed", "crash", "oops")
    assert failed.artifact == place / "tests_qemu_test_ssh.py_test_1" / "transcript.txt"
    assert [path.name for path in place.iterdir()] == ["tests_qemu_test_ssh.py_test_1"]


@pytest.mark.parametrize(
    ("statuses", "exit_status", "status"),
    [
        (["caught", "passed", "other kernel"], 0, JobStatus.PASSED),
        (["caught", "SURVIVED"], 1, JobStatus.FAILED),
        (["SURVIVED", "infrastructure"], 3, JobStatus.FAILED),
        (["caught", "unstable test"], 3, JobStatus.INFRASTRUCTURE),
        (["caught"], -15, JobStatus.INFRASTRUCTURE),
        ([], 3, JobStatus.INFRASTRUCTURE),
    ],
)
def test_what_came_of_the_mutants(
    tmp_path: Path, statuses: list[str], exit_status: int, status: JobStatus
) -> None:
    given = mutated(**{f"m{number}": word for number, word in enumerate(statuses)})
    content = {"mutants": [dataclasses.asdict(mutant) for mutant in given.mutants]}
    (tmp_path / "mutants.json").write_text(json.dumps(content))
    found = read_mutants(tmp_path, exit_status)
    assert found.status is status
    assert found.mutants == given.mutants


def test_what_the_command_writes_of_mutants_is_read(tmp_path: Path) -> None:
    mutant = patchfile.read_all()[0]
    result = Result(mutant, MutantStatus.CAUGHT, 1.0, 2.0, "test_x", "product", "why")
    (tmp_path / "mutants.json").write_text(json.dumps(report.as_json([result], kernel="6.1")))
    found = read_mutants(tmp_path, 0)
    assert found.status is JobStatus.PASSED
    assert [(one.name, one.test) for one in found.mutants] == [(mutant.name, "test_x")]


def test_half_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "mutants.json").write_text('{"mutants": [{')
    assert read_mutants(tmp_path, 3) == Attempt(JobStatus.INFRASTRUCTURE)


def test_what_was_measured_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.builders import imageset
    from harness.nightly import measure

    images = ImageSet(Path("zImage"), Path("dtb"))
    monkeypatch.setattr(imageset, "build_image_set", lambda kernel: images)
    asked: list[object] = []

    def how(*given: object) -> list[Sample]:
        asked.extend(given)
        return [Sample("boot", "ms", 1300.5)]

    words = ["--kernel-version", "6.1", "--memory", "256", "--to", str(tmp_path)]
    assert measure.main(words, how) == 0
    assert asked == [images, 256, tmp_path]
    assert read_samples(tmp_path, 0) == Attempt(
        JobStatus.PASSED, samples=(Sample("boot", "ms", 1300.5),)
    )
    assert read_samples(tmp_path / "none", 3).status is JobStatus.INFRASTRUCTURE
    assert read_samples(tmp_path / "none", 1).status is JobStatus.FAILED


def came(one: Job, *argv: str) -> Attempt:
    """What comes of a command in the place of the job's."""
    engine = LocalEngine(1, wait=lambda seconds: time.sleep(0.02))
    commands = NightCommands("night")
    task = dataclasses.replace(commands.task(one, 1, None), argv=argv)
    engine.submit(task, Path("job"))
    (done,) = engine.results()
    return commands.read(one, done)


def test_a_job_says_why_it_ended_by_infrastructure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attempt = came(job(), "{python}", "-c", "exit('no space left')")
    assert attempt.status is JobStatus.INFRASTRUCTURE
    assert attempt.message == "exit status 1\nno space left"
    assert attempt.log is not None
    assert attempt.log.name == "log.txt"


def test_a_job_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attempt = came(dataclasses.replace(job(), timeout=0.3), "sleep", "600")
    assert attempt.status is JobStatus.INFRASTRUCTURE
    assert "not done after 0 minutes, and ended" in attempt.message
    assert attempt.seconds < 20


def test_what_the_cluster_lost_is_infrastructure_whatever_is_left(tmp_path: Path) -> None:
    left(tmp_path, "", CRASH)
    commands = NightCommands("night")
    task = commands.task(job(), 1, None)
    attempt = commands.read(job(), Done(task, tmp_path, trouble="no worker is left", host="two"))
    assert (attempt.status, attempt.message) == (JobStatus.INFRASTRUCTURE, "no worker is left")
    assert (attempt.results, attempt.host) == ((), "two")
