# SPDX-License-Identifier: MIT
"""KTAP cases as subtests: on the terminal, in JUnit XML, with xdist's workers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.unit.plugin.conftest import WORKER

pytest_plugins = ["pytester"]

TEST = '''
import pytest
from harness.errors import Verdict
from harness.ktap import parse_ktap
from harness.pytest_plugin import cases

KTAP = """\\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: suite
    1..4
    ok 1 good
    # expected 1, got 2
    not ok 2 bad
    ok 3 left out # SKIP no device
    not ok 4 known # TODO later
not ok 1 suite
ok 2 alone
"""

def test_all(ktap_cases):
    ktap_cases.report(parse_ktap(KTAP))
    print("the test goes on")

def test_good(ktap_cases, record_property):
    record_property("own", "1")
    ktap_cases.report(parse_ktap("1..1\\\\nok 7 good\\\\n"))

def test_many(ktap_cases, monkeypatch):
    monkeypatch.setattr(cases, "MOST", 3)
    lines = [f"{'not ok' if n > 8 else 'ok'} {n} case" for n in range(1, 11)]
    ktap_cases.report(parse_ktap("\\\\n".join(["1..10", *lines])))

def test_cut(ktap_cases):
    ktap_cases.report(parse_ktap("1..2\\\\nok 1 a\\\\n"), Verdict.CRASH)

def test_subtests_of_pytest(subtests):
    with subtests.test("mine"):
        pass

def test_stays_skipped(ktap_command):
    raise AssertionError("must not run")
'''.replace("\\\\n", "\\n")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    # Where the temporary directory is in a checkout, that is not to be taken for the project.
    pytester.makeini("[pytest]\n")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(test_it=TEST)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess("--color=no", *arguments)


Xml = dict[tuple[str, str], ElementTree.Element]


def junit(project: pytest.Pytester) -> Xml:
    """(class, name) → element of the JUnit file, each once, as the suite counts them."""
    root = ElementTree.parse(project.path / "junit.xml").getroot()
    cases = list(root.iter("testcase"))
    found = {(str(case.get("classname")), str(case.get("name"))): case for case in cases}
    assert len(found) == len(cases)
    for count, tag in (("failures", "failure"), ("skipped", "skipped"), ("errors", "error")):
        (suite,) = root.iter("testsuite")
        assert int(str(suite.get(count))) == sum(case.find(tag) is not None for case in cases)
        assert int(str(suite.get("tests"))) == len(cases)
    return found


def properties(case: ElementTree.Element) -> dict[str, str]:
    return {str(p.get("name")): str(p.get("value")) for p in case.iter("property")}


def test_a_failed_case_is_told_on_the_terminal_and_fails_its_test(project: pytest.Pytester) -> None:
    result = run(project, "-k", "test_all")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*test_all ?suite > bad?*",
            "KtapCaseFailed (product): suite > bad failed",
            "expected 1, got 2",
            "KtapFailed (product): 1 of 5 KTAP cases failed: suite > bad",
            "*the test goes on*",
            "*KTAP cases*",
            "test_it.py::test_all: 1 failed, 2 passed, 1 skipped, 1 xfailed",
            "SUBFAILED?suite > bad? test_it.py::test_all*",
            "FAILED test_it.py::test_all*",
        ],
        consecutive=False,
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*raise KtapCaseFailed*")


def test_skipped_and_expected_cases_have_their_reasons(project: pytest.Pytester) -> None:
    result = run(project, "-v", "-rsx", "-k", "test_all")
    result.stdout.fnmatch_lines_random(
        [
            "*SUBPASSED?suite > good?*",
            "*SUBSKIPPED?suite > left out?*(no device)*",
            "*SUBXFAIL?suite > known?*later*",
            "SUBSKIPPED?suite > left out? ?1? test_it.py:*: no device",
        ]
    )


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_each_case_is_a_testcase_of_its_own(project: pytest.Pytester, workers: str) -> None:
    run(project, "--junitxml=junit.xml", "-n", workers, "-k", "not of_pytest")
    found = junit(project)
    bad = found["test_it.test_all", "suite > bad"]
    failure = bad.find("failure")
    assert failure is not None
    assert "expected 1, got 2" in str(failure.text)
    assert properties(bad) == {"ktap": "suite > bad", "verdict": "product"}
    skipped = found["test_it.test_all", "suite > left out"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "no device"
    known = found["test_it.test_all", "suite > known"].find("skipped")
    assert known is not None
    assert known.get("type") == "pytest.xfail"
    for name in ("suite > good", "alone"):
        good = found["test_it.test_all", name]
        assert properties(good) == {"ktap": name, "verdict": "pass"}
        assert len(good) == 1, "nothing but the properties"
    whole = found["test_it", "test_all"].findall("failure")
    assert [str(w.get("message")) for w in whole] == [
        "KtapFailed (product): 1 of 5 KTAP cases failed: suite > bad"
    ]
    assert properties(found["test_it", "test_good"]) == {"own": "1", "verdict": "pass"}
    assert properties(found["test_it.test_cut", "(missing)"])["verdict"] == "crash"
    many = [name for module, name in found if module == "test_it.test_many"]
    assert many == ["case", "case (2)", "case (3)"], "each has a name of its own"


def test_subtests_that_are_no_ktap_stay_as_pytest_has_them(project: pytest.Pytester) -> None:
    run(project, "--junitxml=junit.xml", "-k", "of_pytest")
    root = ElementTree.parse(project.path / "junit.xml").getroot()
    assert [c.get("name") for c in root.iter("testcase")] == ["test_subtests_of_pytest"]


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=WORKER)])
def test_the_run_fails_for_a_case_with_workers_too(project: pytest.Pytester, workers: str) -> None:
    result = run(project, "-n", workers, "-k", "test_all or test_good")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # The case and its test; what was skipped or expected is shown with -v.
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "test_it.py::test_all: 1 failed, 2 passed, 1 skipped, 1 xfailed",
            "test_it.py::test_good: 1 passed",
        ]
    )


def test_numbers_that_do_not_fit_are_a_warning(project: pytest.Pytester) -> None:
    result = run(project, "-k", "test_good")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*KTAP: good: its number is 7 where 1 was to come*"])


def test_of_too_many_cases_the_rest_is_counted(project: pytest.Pytester) -> None:
    result = run(project, "-k", "test_many", "--junitxml=junit.xml")
    result.stdout.fnmatch_lines(
        [
            "KtapFailed (product): 2 of 10 KTAP cases failed: 2 of the 7 after the first 3",
            "*KTAP: 7 more cases were counted*",
        ]
    )
    result.assert_outcomes(failed=1, warnings=1)


def test_the_first_failure_ends_the_run_where_that_is_asked_for(project: pytest.Pytester) -> None:
    result = run(project, "-x", "-k", "test_all or test_cut")
    result.stdout.fnmatch_lines(["test_it.py::test_all: 1 failed, 1 passed"])
    result.stdout.no_fnmatch_line("*test_cut*failed*")


def test_without_a_command_its_test_is_skipped_with_the_option_s_name(
    project: pytest.Pytester,
) -> None:
    result = run(project, "-rs", "-k", "stays_skipped")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*--qemu-ktap COMMAND*"])


def test_each_command_is_a_test(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nqemu_ktap =\n    ./from_the_file\n")
    options = ["--qemu", "--collect-only", "-q", "-k", "stays_skipped"]
    run(project, *options).stdout.fnmatch_lines(["*test_stays_skipped?./from_the_file?"])
    result = run(project, *options, "--qemu-ktap", "./one -a", "--qemu-ktap", "./two")
    result.stdout.fnmatch_lines(["*stays_skipped?./one -a?", "*stays_skipped?./two?"])
    result.stdout.no_fnmatch_line("*from_the_file*")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--qemu-ktap", " "], "--qemu-ktap: the command is empty"),
        (["--qemu-ktap-timeout", 400 * "9"], "*9' is not a number of seconds"),
        (["--qemu-memory", "²"], "--qemu-memory: '²' is not a number of MiB*"),
        (["--qemu-ktap-timeout", "0"], "--qemu-ktap-timeout: '0' is not a number of seconds"),
    ],
)
def test_an_option_that_cannot_be_used_stops_the_run(
    project: pytest.Pytester, arguments: list[str], said: str
) -> None:
    result = run(project, "--qemu", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
