# SPDX-License-Identifier: MIT
"""The matrix file: what it expands to, and what is said of a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders.imageset import VERSIONS
from harness.cli.nightly import MATRIX
from harness.errors import UserError
from harness.host import project
from harness.host.project import ROOT
from harness.nightly.job import GROUPS, Job, JobKind
from harness.nightly.matrix import read_matrix

RUN = '[[run]]\nkernels = ["6.1"]\ntests = ["cma"]\n'


def read(tmp_path: Path, text: str) -> list[Job]:
    path = tmp_path / "m.toml"
    path.write_text(text)
    return read_matrix(path)


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_kernels_memory_and_groups_are_multiplied(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        '[[run]]\nkernels = ["6.1", "6.12"]\nmemory = [256, 512]\ntests = ["cma", "harness"]\n'
        'expression = "not slow"\ntimeout_minutes = 2\n',
    )
    assert names(jobs) == [
        f"{kernel}/{memory}M/{group}"
        for kernel in ("6.1", "6.12")
        for memory in (256, 512)
        for group in ("cma", "harness")
    ]
    job = jobs[-1]
    assert (job.kernel, job.memory_mib, job.group) == ("6.12", 512, "harness")
    assert (job.expression, job.timeout, job.kind) == ("not slow", 120.0, JobKind.TESTS)


def test_a_package_has_no_tests_of_the_harness_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[[run]]\nkernels = ["6.1"]\ntests = ["cma", "harness"]\n'
    assert names(read(tmp_path, text)) == ["6.1/cma", "6.1/harness"]
    monkeypatch.setattr(project, "INSTALLED", True)
    assert names(read(tmp_path, text)) == ["6.1/cma"]


def test_without_memory_the_tests_decide_and_the_name_says_none(tmp_path: Path) -> None:
    (job,) = read(tmp_path, '[[run]]\nkernels = ["6.1"]\ntests = ["layouts"]\nname = "few"\n')
    assert job.name == "6.1/layouts/few"
    assert job.memory_mib is None


def test_mutants_are_shared_out_by_parts(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        '[[mutants]]\nkernels = ["6.1"]\nonly = ["app-*"]\nparts = 2\n'
        '[[mutants]]\nkernels = ["6.12"]\nsample = 3\n',
    )
    assert names(jobs) == ["6.1/mutants/1of2", "6.1/mutants/2of2", "6.12/mutants"]
    assert (jobs[1].part, jobs[1].only, jobs[1].sample) == ((2, 2), ("app-*",), None)
    assert (jobs[2].part, jobs[2].sample) == ((1, 1), 3)


def test_variants_and_explorations_have_jobs_of_their_own(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        RUN + 'variants = ["kasan", "lockdep"]\n'
        '[[explore]]\nkernels = ["6.1", "7.3"]\nminutes = 3\n',
    )
    assert names(jobs) == ["6.1/kasan/cma", "6.1/lockdep/cma", "6.1/explore", "7.3/explore"]
    assert [job.variant for job in jobs] == ["kasan", "lockdep", "", ""]
    assert (jobs[2].kind, jobs[2].minutes, jobs[2].timeout) == (JobKind.EXPLORE, 3, 33 * 60.0)


def test_measurements_come_first_wherever_they_are_written(tmp_path: Path) -> None:
    jobs = read(tmp_path, f'{RUN}[[measure]]\nkernels = ["6.1"]\nmemory = [256]\n')
    assert names(jobs) == ["6.1/256M/measure", "6.1/cma"]
    assert jobs[0].alone
    assert not jobs[1].alone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "m.toml: is an empty matrix: add a [[run]] table"),
        ("[[run]\n", "m.toml: is no TOML"),
        (
            "[[ruin]]\n",
            "m.toml:ruin: unknown; take [[measure]], [[run]], [[explore]] or [[mutants]]",
        ),
        ("[run]\n", "m.toml:run: expected tables: write [[run]]"),
        ('[[run]]\ntests = ["cma"]\n', "m.toml:run[1].kernels: is missing"),
        (RUN.replace('["6.1"]', "[]"), "run[1].kernels: is empty: name at least one, or remove"),
        (RUN.replace('"6.1"', '"6.7"'), "run[1].kernels: '6.7' is unknown; take 6.1, 6.12 or 7.3"),
        (RUN.replace('["6.1"]', '"6.1"'), 'run[1].kernels: expected a list: kernels = ["6.1"]'),
        (RUN.replace('"6.1"', '"6.1", "6.1"'), "run[1].kernels: one is there twice"),
        (RUN.replace("cma", "cna"), "run[1].tests: 'cna' is unknown; take layouts, cma or harness"),
        (RUN + "memory = [2048]\n", "run[1].memory: 2048 is no number of MiB from 64 to 1024"),
        (RUN + "memory = [512.0]\n", "run[1].memory: 512.0 is no number of MiB"),
        (RUN + "memory = []\n", "run[1].memory: is empty"),
        (RUN + 'expression = ""\n', "run[1].expression: '' is no text; leave the key out"),
        (RUN + 'name = "a/b"\n', "run[1].name: 'a/b': take letters"),
        (RUN + "timeout_minutes = 0\n", "run[1].timeout_minutes: 0 is no number, 1 or more"),
        (RUN + "kernel = 1\n", "run[1].kernel: unknown; take expression, kernels, memory, name,"),
        (RUN + RUN, "run[2].name: there are two jobs 6.1/cma: give this table a name"),
        (
            RUN.replace("cma", "layouts") + "memory = [512]\n",
            "run[1].memory: the tests of layouts say their RAM themselves: leave the key out",
        ),
        (
            '[[mutants]]\nkernels = ["6.1"]\nonly = ["no-such"]\n',
            "mutants[1].only: no mutant is called no-such",
        ),
        (
            '[[mutants]]\nkernels = ["6.1"]\nsample = 2\nparts = 3\n',
            "mutants[1].parts: there are only 2 mutants to share out",
        ),
        ('[[measure]]\nkernels = ["6.1"]\nonly = ["x"]\n', "measure[1].only: unknown"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "m.toml"))


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.toml: No such file"):
        read_matrix(tmp_path / "none.toml")


def test_the_project_s_own_matrix_is_good_and_covers_all_groups() -> None:
    jobs = read_matrix(MATRIX)
    assert {job.group for job in jobs if job.kind is JobKind.TESTS} == set(GROUPS)
    assert {job.kind for job in jobs} == set(JobKind)
    assert {job.kernel for job in jobs} == set(VERSIONS)


def test_each_test_file_is_in_one_group() -> None:
    def files(arguments: tuple[str, ...]) -> set[Path]:
        found: set[Path] = set()
        for word in arguments:
            path = ROOT / word.removeprefix("--ignore=")
            below = {path} if path.is_file() else set(path.rglob("test_*.py"))
            assert below, word
            found = found - below if word.startswith("--ignore=") else found | below
        return found

    groups = [files(arguments) for arguments in GROUPS.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    tests = ROOT / "tests"
    assert set.union(*groups) == {
        p for d in ("cma", "qemu") for p in (tests / d).rglob("test_*.py")
    }
