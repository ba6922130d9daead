# SPDX-License-Identifier: MIT
"""Where findings are, and how checkers, GitHub and GitLab are told."""

from __future__ import annotations

import json

import pytest

from harness.coverage.changed import ChangedLine, LineFate
from harness.gate.places import Severity, places
from harness.gate.report import placed
from harness.gate.result import Decision, Finding, FindingKind, GateResult, InputPatch
from tests.unit.gate.report import samples

TEST = "tests/cma/test_x.py::TestY::test_z"
CHANGED = (
    ChangedLine("mm/cma.c", 10, "/* why */"),
    ChangedLine("mm/cma.c", 11, "a();", LineFate.BOOT),
    ChangedLine("mm/cma.c", 12, "b();", LineFate.TESTS, (TEST,)),
    ChangedLine("mm/cma.c", 20, "c();", LineFate.NONE),
    ChangedLine("mm/cma.c", 21, "d();", LineFate.NONE),
)
PATCH = InputPatch("x", "it", "a", ("linux/mm/cma.c", "linux/mm/cma.h"))


def result(
    *findings: Finding, decision: Decision = Decision.REJECTED, changed: bool = True
) -> GateResult:
    return GateResult(
        decision, "why", (PATCH,), "Linux", findings=findings, changed=CHANGED if changed else ()
    )


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (
            Finding(FindingKind.BUILD, "mm/cma.c:7:3: error: expected ';'"),
            "mm/cma.c:7: ERROR: does not build: mm/cma.c:7:3: error: expected ';'",
        ),
        (
            Finding(FindingKind.COMPILER_WARNING, "mm/cma.h:9:1: warning: unused"),
            "mm/cma.h:9: WARNING: new compiler warning: mm/cma.h:9:1: warning: unused",
        ),
        (
            Finding(FindingKind.BUILD, "ld failed", "../mm/cma.c:8: undefined reference"),
            "mm/cma.c:8: ERROR: does not build: ld failed",
        ),
        # The place in another file is not the patch's: the change that made it come is shown.
        (
            Finding(FindingKind.BUILD, "kernel/fork.c:7:3: error: x"),
            "mm/cma.c:11: ERROR: does not build: kernel/fork.c:7:3: error: x",
        ),
        (
            Finding(FindingKind.TEST, TEST, "WrongArea: 0x1\nmore", test=TEST),
            "mm/cma.c:12: ERROR: test newly fails: test_z: WrongArea: 0x1",
        ),
        (
            Finding(FindingKind.CRASH, "WARNING: CPU: 0 at mm/cma.c:30 cma_release+0x1"),
            "mm/cma.c:30: ERROR: kernel crash: WARNING: CPU: 0 at mm/cma.c:30 cma_release+0x1",
        ),
        (
            Finding(FindingKind.CRASH, "UBSAN: shift-out-of-bounds in ../mm/cma.c:31:26"),
            "mm/cma.c:31: ERROR: kernel crash: UBSAN: shift-out-of-bounds in ../mm/cma.c:31:26",
        ),
        (
            Finding(FindingKind.REGRESSION, "boot: 2.00 times the base's"),
            "mm/cma.c:11: WARNING: regression: boot: 2.00 times the base's",
        ),
        (
            Finding(FindingKind.INFRASTRUCTURE, "QEMU was killed"),
            "mm/cma.c:11: WARNING: infrastructure: QEMU was killed",
        ),
    ],
)
def test_a_finding_is_at_the_line_that_it_is_about(finding: Finding, said: str) -> None:
    assert [str(place) for place in places(result(finding))] == [said]


def test_where_no_line_is_known_it_is_the_first_file() -> None:
    finding = Finding(FindingKind.APPLY, "x does not apply")
    assert str(places(result(finding, changed=False))[0]).startswith("mm/cma.c:1: ERROR: does not")


def test_lines_that_nothing_executes_are_remarked_where_it_is_accepted() -> None:
    found = places(result(decision=Decision.ACCEPTED))
    assert [(place.line, place.severity) for place in found] == [(20, Severity.CHECK)]
    assert places(result()) == []


def test_github_reads_one_line_for_each() -> None:
    finding = Finding(FindingKind.TEST, TEST, "50% lost:\nwhy, and where", test=TEST)
    text = placed.github(result(finding))
    assert text == (
        "::error file=mm/cma.c,line=12,title=test newly fails::"
        "test_z: 50%25 lost:%0A50%25 lost:%0Awhy, and where\n"
    )


def test_what_a_guest_prints_reaches_github_cleaned() -> None:
    hostile = "lost\x1b]0;title\x07:\n\x1b[2Jcleared\u202e\r::error::forged"
    finding = Finding(FindingKind.TEST, TEST, hostile, test=TEST)
    text = placed.github(result(finding)) + placed.code_quality(result(finding))
    assert all(bad not in text for bad in ("\x1b", "\x07", "\u202e", "\r", "\n::error::"))


@pytest.mark.parametrize("make", samples.ALL)
def test_every_result_gives_whole_documents(make: samples.Make) -> None:
    issues = json.loads(placed.code_quality(make()))
    for issue in issues:
        assert set(issue) == {*("description", "check_name", "fingerprint", "severity", "location")}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["lines"]["begin"] >= 1
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for row in placed.github(make()).splitlines():
        assert row.startswith(("::error ", "::warning ", "::notice "))
    for place in places(make()):
        assert "\n" not in str(place)


def test_a_fingerprint_stays_where_a_line_moves() -> None:
    one = result(Finding(FindingKind.BUILD, "a", "mm/cma.c:8: x"))
    two = result(Finding(FindingKind.BUILD, "a", "mm/cma.c:9: x"))
    first, second = (json.loads(placed.code_quality(r))[0] for r in (one, two))
    assert first["fingerprint"] == second["fingerprint"]
    assert first["location"] != second["location"]


@pytest.mark.parametrize("word", ["x", "a/", "../", "a.c:1", "at a.c"])
def test_a_text_without_end_takes_no_time(word: str) -> None:
    finding = Finding(FindingKind.BUILD, "it fails", word * 100_000)
    assert places(result(finding))[0].line == 11
