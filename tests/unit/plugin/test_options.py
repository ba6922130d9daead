# SPDX-License-Identifier: MIT
"""The plugin's options as a user gives them, without QEMU."""

from __future__ import annotations

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


def test_the_command_line_wins_over_the_ini_file(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nqemu_memory = 9999\n")
    result = project.runpytest_inprocess("--qemu", "--qemu-memory", "1")
    result.stderr.fnmatch_lines(["*'1' is not a number of MiB*"])
