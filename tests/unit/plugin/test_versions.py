# SPDX-License-Identifier: MIT
"""Which kernels a run has, on a distribution that has others than this project's."""

from __future__ import annotations

import pytest

from harness.builders.kernel_source import KernelSource
from harness.errors import UserError
from harness.pytest_plugin.session import Session

pytest_plugins = ["pytester"]
TEST = """
import pytest

@pytest.mark.every_kernel
def test_it(kernel_version):
    print(f"on {kernel_version}")
"""


@pytest.fixture
def distribution(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The versions that apt has."""
    there: set[str] = set()

    def resolve(kernel: str | None, _cache: object) -> KernelSource:
        version = kernel or (max(there) if "6.1" not in there else "6.1")
        if version not in there:
            raise UserError(f"apt has no linux-source-{version}")
        return KernelSource(version, version, lambda tools, tree: None, version)

    monkeypatch.setattr("harness.builders.kernel_source.resolve", resolve)
    monkeypatch.setattr("harness.builders.cache.Cache", lambda **_: None)
    monkeypatch.setattr(Session, "image_set", lambda self, version: None)
    monkeypatch.setattr("harness.pytest_plugin.variants", list)
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(TEST)
    return there


@pytest.mark.parametrize(
    ("there", "run", "left_out"),
    [
        ({"6.1", "6.12"}, ["6.1", "6.12"], []),
        ({"6.12"}, ["6.12"], ["6.1"]),
        ({"7.2"}, ["7.2"], ["6.1", "6.12"]),
    ],
)
def test_the_tests_run_on_those_that_apt_has_and_the_others_are_named(
    pytester: pytest.Pytester,
    distribution: set[str],
    there: set[str],
    run: list[str],
    left_out: list[str],
) -> None:
    distribution |= there
    result = pytester.runpytest_inprocess("--qemu", "-s")
    result.assert_outcomes(passed=len(run))
    result.stdout.fnmatch_lines([f"*on {version}*" for version in run])
    said = result.stderr.str()
    for version in left_out:
        assert f"not tested on Linux {version}: apt has no linux-source-{version}" in said
    assert ("the tests run on Linux" in said) == bool(left_out)


@pytest.mark.parametrize(("there", "run"), [({"6.1", "6.12"}, "6.1"), ({"7.2"}, "7.2")])
def test_the_default_is_asked_for_by_that_name(
    pytester: pytest.Pytester, distribution: set[str], there: set[str], run: str
) -> None:
    distribution |= there
    result = pytester.runpytest_inprocess("--qemu", "-s", "--qemu-kernel-version=default")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*on {run}*"])


def test_what_was_asked_for_is_not_replaced(
    pytester: pytest.Pytester, distribution: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Session, version: str) -> None:
        raise UserError(f"apt has no linux-source-{version}")

    distribution.add("7.2")
    monkeypatch.setattr(Session, "image_set", refuse)
    result = pytester.runpytest_inprocess("--qemu", "--qemu-kernel-version", "6.1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: apt has no linux-source-6.1"])
