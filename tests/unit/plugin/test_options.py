# SPDX-License-Identifier: MIT
"""The plugin's options as a user gives them, without QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TEST = """
def test_without_qemu():
    pass

def test_with_a_guest(guest):
    raise AssertionError("must not run")
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(TEST)
    return pytester


def test_without_the_option_qemu_tests_are_skipped_with_the_reason(
    project: pytest.Pytester,
) -> None:
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*needs QEMU: run pytest --qemu*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--qemu-kernel", "nowhere/zImage"], "--qemu-kernel: there is no file *nowhere/zImage"),
        (["--qemu-kernel", "n" * 300], "*nnn*: File name too long"),
        (["--qemu-dts", "a.dts"], "--qemu-dts: there is no file *a.dts"),
        (
            ["--qemu-dts", "test_an_option_that_cannot_be_used_stops_the_run.py", "--qemu-dtb=x"],
            "--qemu-dts and --qemu-dtb: give one of them",
        ),
        (["--qemu-memory", "2048"], "*'2048' is not a number of MiB from 64 to 1024"),
        (["--qemu-memory", "lots"], "*'lots' is not a number of MiB*"),
        (["--qemu-kernel-version", " "], "*name at least one version*"),
    ],
)
def test_an_option_that_cannot_be_used_stops_the_run(
    project: pytest.Pytester, arguments: list[str], said: str
) -> None:
    result = project.runpytest_inprocess("--qemu", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_an_option_can_stand_in_the_ini_file(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nqemu_memory = 9999\n")
    result = project.runpytest_inprocess("--qemu")
    result.stderr.fnmatch_lines(["*'9999' is not a number of MiB*"])


def test_a_file_that_the_ini_file_names_is_beside_it(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makeini("[pytest]\nqemu_kernel = mine/zImage\n")
    project.mkdir("below")
    monkeypatch.chdir(project.path / "below")
    result = project.runpytest_inprocess("--qemu", "-c", str(project.path / "tox.ini"))
    result.stderr.fnmatch_lines(
        [f"ERROR: --qemu-kernel: there is no file {project.path}/mine/zImage"]
    )


def test_the_command_line_wins_over_the_ini_file(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nqemu_memory = 9999\n")
    result = project.runpytest_inprocess("--qemu", "--qemu-memory", "1")
    result.stderr.fnmatch_lines(["*'1' is not a number of MiB*"])


@pytest.mark.parametrize(
    "arguments",
    [["--qemu-kernel=zImage"], ["--qemu-strict"], ["--qemu-ktap", "./selftest"]],
)
def test_an_option_of_the_plugin_without_qemu_is_a_usage_error(
    project: pytest.Pytester, arguments: list[str]
) -> None:
    """Or all would be skipped, and the run would pass."""
    result = project.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = arguments[0].partition("=")[0]
    result.stderr.fnmatch_lines([f"ERROR: {name} without --qemu: *"])


SYSTEM = """
from pathlib import Path

import pytest

@pytest.fixture(scope="session")
def image_set():
    from pathlib import Path
    from harness.imageset.model import ImageSet
    return ImageSet(Path("/my/zImage"), Path("/my/board.dtb"))

@pytest.mark.needs("debugfs")
def test_one(qemu_session): pass

@pytest.mark.needs("debugfs", "cma-sysfs")
def test_two(qemu_session): pass

@pytest.mark.xfail(strict=True)
def test_three(qemu_session): raise ValueError

def test_four(qemu_session): pass
"""
DEBUGFS = (
    "needs /sys/kernel/debug/cma (CONFIG_DEBUG_FS=y, CONFIG_CMA_DEBUGFS=y): not in the kernel"
    " /my/zImage"
)


@pytest.fixture
def system(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Tests of a system that lacks what two of them need."""
    for name in ("pytest_sessionstart", "pytest_sessionfinish"):
        monkeypatch.delattr(f"harness.pytest_plugin.{name}")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(SYSTEM)
    return pytester


def test_a_skip_says_what_was_looked_for_and_where_and_the_summary_how_many(
    system: pytest.Pytester,
) -> None:
    result = system.runpytest_inprocess("--qemu")
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*2 tests of the system did NOT run, 2 did*",
            f"   2  {DEBUGFS}",
            "   1  needs /sys/kernel/mm/cma *",
            "*(a test that lacks several of these is counted for each)",
        ]
    )


def test_one_that_skips_itself_when_it_has_begun_did_not_run(system: pytest.Pytester) -> None:
    system.makepyfile(test_itself="import pytest\ndef test_it(qemu_session): pytest.skip('why')\n")
    result = system.runpytest_inprocess("--qemu")
    result.stdout.fnmatch_lines(["*3 tests of the system did NOT run, 2 did*", "   1  why"])


def test_with_strict_a_test_of_the_system_that_cannot_run_fails(system: pytest.Pytester) -> None:
    result = system.runpytest_inprocess("--qemu", "--qemu-strict")
    result.assert_outcomes(passed=1, errors=2, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"skipped, which --qemu-strict does not allow: {DEBUGFS}"])


@pytest.mark.parametrize("separate", [True, False])
def test_the_value_of_an_option_does_not_move_the_root_directory(
    pytester: pytest.Pytester, tmp_path: Path, separate: bool
) -> None:
    """Whatever the ini-file says holds."""
    pytester.makeini("[pytest]\naddopts = --maxfail=7\ntestpaths = here\n")
    pytester.mkdir("here").joinpath("test_it.py").write_text(TEST)
    elsewhere = tmp_path / "elsewhere" / "names.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("here/test_it.py::test_with_a_guest\n")
    words = ["--qemu-select", str(elsewhere)]
    given = words if separate else ["=".join(words)]
    result = pytester.runpytest_inprocess(
        "-p", "harness.pytest_plugin", "--collect-only", "--qemu", *given
    )
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", "configfile: tox.ini", "*1/2 tests*"])


def test_where_nothing_is_moved_nothing_is_done(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naddopts = --maxfail=7\n")
    config = pytester.parseconfig("-p", "harness.pytest_plugin", "--qemu-memory", "256")
    assert config.getoption("maxfail") == 7
    assert config.rootpath == pytester.path
