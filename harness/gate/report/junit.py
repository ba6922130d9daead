# SPDX-License-Identifier: MIT
"""JUnit XML, for a CI's list of tests: one suite ``gate``.

Its cases are the application of the patches, the build, each finding and each test with a change.
A test that fails on the base too is skipped here: the patch is not to blame. The type of a failure
is the harness's verdict, which the case has as a property as well.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

from harness.gate.report import facts
from harness.gate.report.plain import clean, line
from harness.gate.result import Change, Decision, Finding, GateResult, Kind, TestChange

_STEPS = {"apply": (Kind.APPLY, Kind.SCOPE), "build": (Kind.BUILD, Kind.CONTAINED)}
_OUTCOMES = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_INFRASTRUCTURE = "infrastructure"


def render(result: GateResult) -> str:
    """The document, well-formed for any text."""
    suite = ET.Element("testsuite", name="gate", time=f"{facts.total_seconds(result):.3f}")
    if result.started:
        suite.set("timestamp", line(result.started))
    _properties(
        suite,
        decision=result.decision.value,
        reason=result.reason,
        base=result.base,
        release=result.release,
        tests=facts.tests_line(result),
    )
    for name, kinds in _STEPS.items():
        _step(suite, result, name, kinds)
    for finding in result.findings:
        verdict = facts.verdict(finding, result)
        case = _case(suite, "gate.finding", f"{finding.kind.value}: {finding.title}")
        _fails(case, verdict, finding.title, [finding.detail, finding.excerpt], finding.kind.value)
    for test in result.tests:
        _test(suite, test)
    if result.decision is not Decision.ACCEPTED and not _number(suite, "failure", "error"):
        verdict = result.decision.value
        verdict = "product" if result.decision is Decision.REJECTED else verdict
        _fails(_case(suite, "gate", "verdict"), verdict, result.reason)
    root = ET.Element("testsuites", name="gate")
    for element in (root, suite):
        element.set("tests", str(len(suite.findall("testcase"))))
        for attribute, outcome in _OUTCOMES.items():
            element.set(attribute, str(_number(suite, outcome)))
    root.append(suite)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _step(suite: ET.Element, result: GateResult, name: str, kinds: Sequence[Kind]) -> None:
    """One of the steps before the suite."""
    stages = [stage for stage in result.stages if stage.name.startswith(name)]
    case = _case(suite, "gate.step", name, sum(stage.seconds for stage in stages))
    found = facts.of_kind(result, *kinds)
    if found:
        _fails(case, facts.verdict(found[0], result), found[0].title, _details(found))
    elif not stages and result.decision in (Decision.NOT_JUDGED, Decision.INFRASTRUCTURE):
        ET.SubElement(case, "skipped", message="not reached")


def _details(found: Iterable[Finding]) -> list[str]:
    return [part for finding in found for part in (finding.title, finding.detail)]


def _test(suite: ET.Element, test: TestChange) -> None:
    case = _case(suite, "gate.test", test.test)
    if test.change in (Change.STILL_FAILS, Change.GONE):
        _properties(case, change=test.change.value, verdict=test.verdict)
        message = ": ".join(filter(None, [test.change.value, line(test.message)]))
        ET.SubElement(case, "skipped", message=message)
    elif test.verdict or test.change is Change.NEWLY_FAILS:
        verdict = test.verdict or "product"
        _fails(case, verdict, test.message or test.change.value, [test.message], test.change.value)
    else:
        _properties(case, change=test.change.value)


def _case(suite: ET.Element, group: str, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=group, name=line(name), time=f"{seconds:.3f}")


def _fails(
    case: ET.Element, verdict: str, message: str, parts: Iterable[str] = (), kind: str = ""
) -> None:
    _properties(case, verdict=verdict, kind=kind)
    name = "error" if verdict == _INFRASTRUCTURE else "failure"
    element = ET.SubElement(case, name, type=line(verdict), message=line(message))
    element.text = "\n\n".join(clean(part).rstrip() for part in parts if part) or None


def _properties(element: ET.Element, **values: str) -> None:
    """Those that are not empty."""
    group = ET.SubElement(element, "properties")
    for name, value in values.items():
        if value:
            ET.SubElement(group, "property", name=name, value=line(value))


def _number(suite: ET.Element, *outcomes: str) -> int:
    return sum(len(suite.findall(f"testcase/{outcome}")) for outcome in outcomes)
