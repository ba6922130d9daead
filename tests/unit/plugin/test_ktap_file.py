# SPDX-License-Identifier: MIT
"""``--ktap FILE``."""

from __future__ import annotations

import pytest

from harness.ktap import KtapOutcome, parse_ktap
from tests.unit.plugin.conftest import WORKER

pytest_plugins = ["pytester"]

TEST = """
import pytest
from harness.errors import HarnessError
from harness.ktap import parse_ktap

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

def test_cases(ktap_cases):
    ktap_cases.report(parse_ktap("1..2\\nok 1 a\\nnot ok 2 b\\n"))
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\n")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(test_it=TEST)
    return pytester


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_all_results_are_in_the_file(project: pytest.Pytester, workers: str) -> None:
    project.runpytest_inprocess("--ktap", "out.ktap", "-n", workers)
    report = parse_ktap((project.path / "out.ktap").read_text())
    assert not report.problems
    found = {case.path[-1]: case.test.outcome for case in report.cases()}
    assert found == {
        "test_good": KtapOutcome.PASS,
        "test_bad": KtapOutcome.FAIL,
        "test_skipped": KtapOutcome.SKIP,
        "test_known": KtapOutcome.XFAIL,
        "test_lost": KtapOutcome.ERROR,
        "test_cases > a": KtapOutcome.PASS,
        "test_cases > b": KtapOutcome.FAIL,
        "test_cases": KtapOutcome.FAIL,
    }
    assert "# SKIP no device" in (project.path / "out.ktap").read_text()


def test_a_place_that_cannot_be_written_is_said_first(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--ktap", "none/out.ktap")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--ktap none/out.ktap: expected a file*"])
