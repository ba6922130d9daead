# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from harness.gate.report import junit
from harness.gate.result import Decision, Finding, FindingKind, GateResult, ResultChange, TestChange
from harness.testrun.result import CaseResult
from tests.unit.gate.report import samples


def suite(result: GateResult) -> ET.Element:
    found = ET.fromstring(junit.render(result).encode()).find("testsuite")
    assert found is not None
    return found


def case(found: ET.Element, name: str, group: str = "") -> ET.Element:
    (one,) = [
        item
        for item in found.findall("testcase")
        if item.get("name") == name and (not group or item.get("classname") == group)
    ]
    return one


def outcome(item: ET.Element) -> str:
    kinds = {child.tag for child in item} - {"properties"}
    return kinds.pop() if kinds else "passed"


def properties(item: ET.Element) -> dict[str, str]:
    return {p.get("name", ""): p.get("value", "") for p in item.findall("properties/property")}


@pytest.mark.parametrize("make", samples.ALL)
def test_every_result_is_well_formed_and_counted(make: samples.Make) -> None:
    found = suite(make())
    result = make()
    cases = found.findall("testcase")
    assert found.get("name") == "gate"
    tests = {case.test for case in result.cases} | {change.test for change in result.tests}
    of_none = [finding for finding in result.findings if not finding.test]
    assert len(cases) >= 2 + len(of_none) + len(tests)
    assert found.get("tests") == str(len(cases))
    outcomes = [outcome(item) for item in cases]
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert found.get(attribute) == str(outcomes.count(kind))
    assert properties(found)["decision"] == result.decision.value


def test_an_acceptance_has_no_failure() -> None:
    found = suite(samples.accepted())
    assert [outcome(item) for item in found.findall("testcase")] == ["passed", "passed"]
    assert case(found, "build").get("time") == "48.0"


def test_a_failing_test_has_its_verdict_and_explanation() -> None:
    found = suite(samples.rejected())
    item = case(found, samples.WRONG_AREA, "gate.test")
    failure = item.find("failure")
    assert failure is not None
    assert failure.get("type") == properties(item)["verdict"] == "product"
    assert failure.get("message") == "WrongArea: in linux,cma"
    assert failure.text is not None
    assert "7 MiB below it" in failure.text
    assert "Find CMA: default" in failure.text


def test_what_fails_on_the_base_too_is_not_the_patchs_fault() -> None:
    found = suite(samples.rejected())
    item = case(found, "tests/cma/test_a.py::test_known")
    assert outcome(item) == "skipped"
    assert properties(item) == {"change": "fails as before", "verdict": "product"}
    assert outcome(case(found, "tests/cma/test_a.py::test_new")) == "passed"


def test_infrastructure_is_an_error() -> None:
    found = suite(samples.infrastructure())
    item = case(found, "infrastructure: qemu-system-arm: no space left")
    assert outcome(item) == "error"
    assert properties(item)["verdict"] == "infrastructure"
    assert found.get("failures") == "0"


def test_a_patch_that_does_not_apply_is_not_built() -> None:
    found = suite(samples.not_judged())
    failure = case(found, "apply").find("failure")
    assert failure is not None
    assert failure.get("type") == "not judged"
    assert outcome(case(found, "build")) == "skipped"


def test_a_decision_without_findings_shows_all_the_same() -> None:
    result = dataclasses.replace(samples.accepted(), decision=Decision.REJECTED, reason="why")
    assert outcome(case(suite(result), "verdict")) == "failure"
    result = dataclasses.replace(result, decision=Decision.INFRASTRUCTURE)
    assert outcome(case(suite(result), "verdict")) == "error"


def test_each_test_is_there_once_whether_it_changed_or_not() -> None:
    passed = CaseResult("tests/cma/test_a.py::test_ok", "passed", seconds=1.25)
    skipped = CaseResult("tests/cma/test_a.py::test_none", "skipped", message="no debugfs")
    result = samples.rejected()
    cases = (passed, skipped, *(change.case for change in result.tests[:-1]))
    found = suite(dataclasses.replace(result, cases=cases))
    names = [item.get("name") for item in found.findall("testcase[@classname='gate.test']")]
    assert sorted(map(str, names)) == sorted({*(c.test for c in cases), result.tests[-1].test})
    assert case(found, passed.test).get("time") == "1.25"
    assert outcome(case(found, passed.test)) == "passed"
    assert outcome(case(found, skipped.test)) == "skipped"
    assert outcome(case(found, samples.WRONG_AREA)) == "failure"
    titles = [str(item.get("name")) for item in found.findall("testcase")]
    assert sum(samples.WRONG_AREA in title for title in titles) == 1


def test_what_the_base_fails_now_too_is_no_failure_of_the_patch() -> None:
    test = CaseResult("tests/cma/test_a.py::test_x", "failed", "product", "wrong")
    finding = Finding(FindingKind.INFRASTRUCTURE, "test_x: the base fails it too", test=test.test)
    changes = (TestChange(test, ResultChange.NEWLY_FAILS),)
    result = dataclasses.replace(
        samples.infrastructure(), cases=(test,), tests=changes, findings=(finding,)
    )
    found = suite(result)
    assert outcome(case(found, test.test)) == "error"
    assert found.get("failures") == "0"
    assert found.get("errors") == "1"


def test_a_failure_s_text_is_bounded() -> None:
    finding = Finding(FindingKind.TEST, "t", "x" * 10**6, test="t")
    change = TestChange(CaseResult("t", "failed", "product", "y"), ResultChange.NEWLY_FAILS)
    result = dataclasses.replace(samples.rejected(), tests=(change,), findings=(finding,))
    assert len(junit.render(result)) < 10**5
