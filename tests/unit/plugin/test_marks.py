# SPDX-License-Identifier: MIT
"""A mark that cannot be meant stops the run, with or without QEMU and workers."""

from __future__ import annotations

import pytest

from harness.imageset.features import Feature
from harness.pytest_plugin.marks import MACHINE_KINDS
from tests.unit.plugin.conftest import WORKER

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    return pytester


def marked(*marks: str) -> str:
    lines = ["import pytest"]
    for number, mark in enumerate(marks):
        lines += [f"@pytest.mark.{mark}", f"def test_{number}(guest): pass"]
    return "\n".join(lines)


WRONG = {
    'needs("debgfs")': "there is no feature 'debgfs': did you mean debugfs?",
    'needs("zzz")': "there is no feature 'zzz': there are agent, *",
    "needs()": "it names no feature",
    'needs("ssh", reason="x")': "it takes no keyword 'reason'",
    'needs(["ssh"])': "?'ssh'? is not the name of a feature",
    'machine("hot")': "there is no kind of machine 'hot': *",
    'machine("clones")': "there is no kind of machine 'clones': did you mean clone?",
    'machine(append="x")': "it takes one kind of machine (clone, class, cold, loaded), here are 0",
    'machine("cold", "x")': "it takes one kind of machine (*), here are 2",
    'machine("cold", append=["x"])': "append is ?'x'?, not a string *",
    'machine("cold", apend="x")': "it takes no keyword 'apend'",
    'machine(kind="cold")': "it takes no keyword 'kind'",
    'machine("class", append="x")': "a guest that a class shares takes no append",
    'every_kernel("6.1")': "it takes no argument",
}


def test_marks_that_cannot_be_meant_are_usage_errors_with_their_tests(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(marked(*WRONG))
    result = project.runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    for number, (mark, said) in enumerate(WRONG.items()):
        name = mark.partition("(")[0]
        result.stderr.fnmatch_lines([f"*.py::test_{number}: mark {name}: {said}"])


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_a_wrong_mark_stops_workers_too_and_nothing_runs(
    project: pytest.Pytester, workers: str
) -> None:
    project.makepyfile(marked('needs("debgfs")') + "\ndef test_other(): print(1 / 0)")
    result = project.runpytest_inprocess("-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::test_0: mark needs: there is no feature 'debgfs'*"])
    result.stdout.no_fnmatch_line("*ZeroDivisionError*")


def test_the_mark_of_a_module_or_a_class_is_told_with_each_of_its_tests(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        'import pytest\npytestmark = pytest.mark.needs("debgfs")\n'
        "class TestIt:\n    def test_a(self): pass\n    def test_b(self): pass\n"
    )
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::TestIt::test_a: mark needs: *", "*::TestIt::test_b: *"])


def test_right_marks_are_taken(project: pytest.Pytester) -> None:
    good = [f"needs({', '.join(map(repr, (str(feature) for feature in Feature)))})", "every_kernel"]
    good += [f"machine({kind!r})" for kind in MACHINE_KINDS] + ['machine("cold", append="quiet")']
    project.makepyfile(marked(*good))
    result = project.runpytest_inprocess()
    result.assert_outcomes(skipped=len(good))
