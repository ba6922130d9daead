# SPDX-License-Identifier: MIT
"""What a run of pytest says of a mutant: whose fault a red test is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from harness.errors import HarnessError, UserError
from harness.imageset.model import ImageSet
from harness.testrun import suite as module
from harness.testrun.junit import directory_name, node_of, read_cases
from harness.testrun.result import FAILED, NOTHING, PASSED, CaseResult, SuiteResult, lost
from harness.testrun.suite import Suite, stopped_early

CASE = '<testcase classname="tests.qemu.test_a.TestB" name="test_c{}" time="1.5">{}</testcase>'
VERDICT = '<properties><property name="verdict" value="{}"/></properties>'
FAILURE = '<failure message="wrong">text</failure>'
ERROR = '<error message="failed on setup">text</error>'


def written(tmp_path: Path, *elements: str) -> Path:
    path = tmp_path / "junit.xml"
    inner = "".join(elements)
    path.write_text(f'<testsuites><testsuite name="pytest">{inner}</testsuite></testsuites>')
    return path


def junit(tmp_path: Path, *cases: str) -> list[CaseResult]:
    elements = [CASE.format(number or "", case) for number, case in enumerate(cases)]
    return read_cases(written(tmp_path, *elements))


def outcome(status: int, *verdicts: str, tests: int = 3) -> SuiteResult:
    failures = [CaseResult(f"{n}", "failed", verdict) for n, verdict in enumerate(verdicts)]
    passed = [CaseResult(f"p{n}", "passed") for n in range(tests)]
    return SuiteResult(status, (*failures, *passed), 0.0, Path("log"))


def test_skipped_tests_do_not_count(tmp_path: Path) -> None:
    run = SuiteResult(0, tuple(junit(tmp_path, "", "<skipped/>", "")), 0.0, Path("log"))
    assert (run.tests, run.failures) == (2, ())


def test_each_test_is_told_once_with_its_worst_result(tmp_path: Path) -> None:
    """A failing test whose teardown fails too is there twice."""
    twice = [CASE.format("", ""), CASE.format("", ERROR), CASE.format("", "")]
    known = CASE.format("2", '<skipped type="pytest.xfail" message="known"/>')
    cases = read_cases(written(tmp_path, *twice, known, CASE.format("3", "<skipped/>")))
    assert [(case.test[-7:], case.outcome) for case in cases] == [
        (":test_c", "failed"),
        ("test_c2", "xfailed"),
        ("test_c3", "skipped"),
    ]
    assert cases[0].seconds == 1.5
    assert cases[1].message == "known"


def test_the_name_of_a_test_s_directory_is_that_of_the_plugin() -> None:
    assert directory_name("tests/qemu/test_a.py::TestB::test_c[x-1.2]") == (
        "tests_qemu_test_a.py_TestB_test_c_x-1.2"
    )


@pytest.mark.parametrize("found", [FAILURE, ERROR])
def test_the_verdict_of_a_guest_s_test_is_taken(tmp_path: Path, found: str) -> None:
    (failure,) = junit(tmp_path, VERDICT.format("crash") + found)
    assert failure.verdict == "crash"
    assert failure.test == "tests.qemu.test_a.TestB::test_c", "there is no such file"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (FAILURE, "product"),
        (ERROR, "infrastructure"),
        ('<failure message="worker crashed while running">x</failure>', "infrastructure"),
    ],
)
def test_without_a_verdict_only_an_assertion_is_the_product_s_fault(
    tmp_path: Path, found: str, verdict: str
) -> None:
    (failure,) = junit(tmp_path, found)
    assert failure.verdict == verdict


@pytest.mark.parametrize(
    ("test", "node"),
    [
        ("tests.cma.test_main_job::test_a[x-1.2]", "tests/cma/test_main_job.py::test_a[x-1.2]"),
        ("tests.cma.test_main_job.TestB::test_a", "tests/cma/test_main_job.py::TestB::test_a"),
    ],
)
def test_a_failed_test_can_be_run_again(test: str, node: str) -> None:
    assert node_of(test) == node


def test_no_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="pytest left no results"):
        read_cases(tmp_path / "none.xml")
    (tmp_path / "half.xml").write_text("<testsuites><testsuite>")
    with pytest.raises(HarnessError, match="pytest left no results"):
        read_cases(tmp_path / "half.xml")


@pytest.mark.parametrize("verdict", ["product", "crash", "timeout"])
def test_the_system_s_fault_is_caught(verdict: str) -> None:
    found = outcome(FAILED, "infrastructure", verdict)
    assert found.caught is not None
    assert found.caught.verdict == verdict
    assert not found.infrastructure
    assert not found.passed


@pytest.mark.parametrize("status", [2, 3, 4, -15])
def test_no_other_exit_status_catches_anything(status: int) -> None:
    found = outcome(status, "product")
    assert found.caught is None
    assert found.infrastructure
    assert not found.passed


def test_the_host_s_fault_catches_nothing() -> None:
    found = outcome(FAILED, "infrastructure")
    assert found.caught is None
    assert found.infrastructure


def test_a_run_says_why_nothing_is_known() -> None:
    assert lost(outcome(FAILED, "product")) == ""
    assert lost(outcome(3)) == "an infrastructure failure (pytest's exit status 3)"


def test_green_is_green_and_needs_a_test() -> None:
    assert outcome(PASSED).passed
    assert not outcome(PASSED, tests=0).passed
    assert not outcome(NOTHING, tests=0).passed
    assert not outcome(NOTHING, tests=0).infrastructure


def test_with_xdist_the_stop_at_the_first_failure_is_a_failure() -> None:
    log = "!!!! xdist.dsession.Interrupted: stopping after 1 failures !!!!\n1 failed in 4.32s\n"
    assert stopped_early(log)
    assert not stopped_early("!!!! KeyboardInterrupt !!!!\n")


@pytest.mark.parametrize(
    ("targets", "workers"),
    [
        (("tests/cma",), True),
        (("tests/cma/test_a.py::test_b", "tests/cma/test_a.py::test_c"), True),
        (("tests/cma/test_a.py::test_b[given]",), False),
    ],
    ids=["all", "two", "one"],
)
def test_one_test_needs_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...], workers: bool
) -> None:
    started: list[list[str]] = []

    def start(argv: list[str], *_: Any) -> subprocess.Popen[bytes]:
        started.append(argv)
        return subprocess.Popen(["true"], process_group=0)

    monkeypatch.setattr(module, "start", start)
    (tmp_path / "cache").mkdir()
    kernel = tmp_path / "zImage"
    suite = Suite(tmp_path / "cache", tmp_path / "private", "2")
    suite.run(ImageSet(kernel, kernel), tmp_path / "out", targets=targets)
    assert ("-n" in started[0]) == workers
    assert started[0][-len(targets) :] == list(targets)


def test_tests_that_there_are_not_are_the_user_s_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "ERROR: --qemu-select /tmp/select.txt:1: test_x names no test; did you mean test_y?"

    def start(argv: list[str], log: IO[bytes], *_: Any) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", 'echo "$0"; exit 4', said]
        return subprocess.Popen(words, stdout=log, process_group=0)

    monkeypatch.setattr(module, "start", start)
    (tmp_path / "cache").mkdir()
    kernel = tmp_path / "zImage"
    suite = Suite(tmp_path / "cache", tmp_path / "private", "2")
    with pytest.raises(UserError, match=r"^the tests to run: test_x names no test; did you mean"):
        suite.run(ImageSet(kernel, kernel), tmp_path / "out")


def test_what_is_started_finds_its_modules_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "pycache_prefix", None)
    with (tmp_path / "log").open("wb") as log:
        process = module.start([sys.executable, "-c", "import harness.plaintext"], log)
        assert process.wait(30) == 0
    compiled = (tmp_path / "cache" / "pycache").rglob("plaintext.*.pyc")
    assert len(list(compiled)) == 1
