# SPDX-License-Identifier: MIT
"""The gate's result as KCIDB and as KTAP."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness.gate.report import kcidb
from harness.gate.result import Decision, Finding, FindingKind, GateResult, InputPatch
from harness.ktap import parse_ktap
from harness.testrun.result import CaseResult
from tests.unit.gate.report import samples

CASES = (
    CaseResult("tests/cma/test_x.py::test_a", "passed"),
    CaseResult("tests/cma/test_x.py::test_b", "failed", "crash", "panic"),
)
STARTED = "2026-11-27T15:27:04+00:00"


def result(decision: Decision, *findings: Finding, cases: bool = True) -> GateResult:
    plain = GateResult(decision, "why", (), "Linux 6.1.192", findings=findings, started=STARTED)
    return dataclasses.replace(plain, cases=CASES if cases else ())


@pytest.mark.parametrize(
    ("decision", "status", "ktap"),
    [
        (Decision.ACCEPTED, "PASS", "ok 1 gate\n"),
        (Decision.REJECTED, "FAIL", "not ok 1 gate\n"),
        (Decision.NOT_JUDGED, "SKIP", "ok 1 gate # SKIP why\n"),
        (Decision.INFRASTRUCTURE, "MISS", "not ok 1 gate # ERROR\n"),
    ],
)
def test_the_decision_is_a_test(decision: Decision, status: str, ktap: str) -> None:
    data = kcidb.document(result(decision))
    gate = data["tests"][-1]
    assert (gate["path"], gate["status"], gate["log_excerpt"]) == (
        "vexpress_cma.gate",
        status,
        "why",
    )
    assert [test["status"] for test in data["tests"][:-1]] == ["PASS", "FAIL"]
    assert ktap in kcidb.render_ktap(result(decision))


@pytest.mark.parametrize(
    ("subjects", "comment"),
    [
        ((), "Linux 6.1.192"),
        (("one",), "Linux 6.1.192 with one"),
        (("one", "two"), "Linux 6.1.192 with one, two"),
    ],
)
def test_a_checkout_says_what_it_is(subjects: tuple[str, ...], comment: str) -> None:
    patches = tuple(InputPatch(name, name, "", ()) for name in subjects)
    made = dataclasses.replace(result(Decision.ACCEPTED), patches=patches)
    assert kcidb.document(made)["checkouts"][0]["comment"] == comment


def test_a_patch_that_does_not_apply_is_no_valid_checkout() -> None:
    finding = Finding(FindingKind.APPLY, "x does not apply", "hunk 1")
    data = kcidb.document(result(Decision.NOT_JUDGED, finding, cases=False))
    (checkout,) = data["checkouts"]
    assert (checkout["valid"], checkout["log_excerpt"]) == (False, "x does not apply\nhunk 1")
    assert data["builds"] == data["tests"] == []


def test_a_build_that_fails_has_its_log() -> None:
    finding = Finding(FindingKind.BUILD, "mm/cma.c:1: error", "log")
    data = kcidb.document(result(Decision.REJECTED, finding, cases=False))
    (build,) = data["builds"]
    assert (build["status"], build["log_excerpt"]) == ("FAIL", "mm/cma.c:1: error\nlog")


@pytest.mark.parametrize("make", samples.ALL)
def test_any_result_is_valid(make: samples.Make) -> None:
    made = make()
    json.loads(kcidb.render(made))
    assert not parse_ktap(kcidb.render_ktap(made)).problems
    schema = pytest.importorskip("kcidb_io").schema
    schema.LATEST.validate(kcidb.document(made))
