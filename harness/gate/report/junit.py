# SPDX-License-Identifier: MIT
"""JUnit XML, for a CI's list of tests: one suite ``gate``.

Its cases are the application of the patches, the build, each finding that is about no test, and
every test of the suite on the patched system, once. A test that fails on the base too is skipped
here: the patch is not to blame. The type of a failure is the harness's verdict, which the case has
as a property as well; so has each case of a test the path of its transcript where it was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import junitparser

from harness.gate.report import facts
from harness.gate.result import Decision, Finding, FindingKind, GateResult, ResultChange, TestChange
from harness.plaintext import clean, cut, line
from harness.testrun.junit import (
    QEMU,
    TRANSCRIPT,
    VERDICT,
    CaseElement,
    SuiteElement,
    render_suite,
    verdict_word,
)
from harness.testrun.result import CaseResult

_STEPS = {
    "apply": (FindingKind.INPUT, FindingKind.APPLY, FindingKind.SCOPE),
    "build": (FindingKind.BUILD, FindingKind.CONTAINED),
}
_INFRASTRUCTURE = "infrastructure"
LONGEST = 20_000
"""Characters of one failure's text: what it says first is what matters, and a CI reads it all."""


def render(result: GateResult) -> str:
    """The document, well-formed for any text."""
    suite = SuiteElement("gate")
    if result.started:
        suite.timestamp = line(result.started)
    values = {
        "decision": result.decision.value,
        "reason": result.reason,
        "base": result.base,
        "release": result.release,
        "tests": facts.tests_line(result),
    }
    for name, value in values.items():
        if value:
            suite.add_property(name, line(value))
    cases = [_step(result, name, kinds) for name, kinds in _STEPS.items()]
    cases += [_finding(result, item) for item in result.findings if not item.test]
    cases += _tests(result)
    if result.decision is not Decision.ACCEPTED and not any(
        case.is_failure or case.is_error for case in cases
    ):
        verdict = result.decision.value
        verdict = "product" if result.decision is Decision.REJECTED else verdict
        cases.append(_fails(_case("gate", "verdict"), verdict, result.reason))
    suite.add_testcases([*cases])
    return render_suite(suite, facts.total_seconds(result))


def _step(result: GateResult, name: str, kinds: Sequence[FindingKind]) -> CaseElement:
    """One of the steps before the suite."""
    stages = [stage for stage in result.stages if stage.name.startswith(name)]
    case = _case("gate.step", name, sum(stage.seconds for stage in stages))
    found = facts.of_kind(result, *kinds)
    if found:
        parts = [part for finding in found for part in (finding.title, finding.detail)]
        return _fails(case, facts.verdict(found[0], result), found[0].title, parts)
    if not stages and result.decision in (Decision.NOT_JUDGED, Decision.INFRASTRUCTURE):
        case.append(junitparser.Skipped("not reached"))
    return case


def _finding(result: GateResult, finding: Finding) -> CaseElement:
    case = _case("gate.finding", f"{finding.kind.value}: {finding.title}")
    parts = [finding.detail, finding.excerpt]
    verdict = facts.verdict(finding, result)
    return _fails(case, verdict, finding.title, parts, finding.kind.value)


def _tests(result: GateResult) -> Iterable[CaseElement]:
    """All tests that ran on the patched system, and those that do no longer."""
    changes = {change.test: change for change in result.tests}
    findings = {
        test: finding
        for finding in result.findings
        for test in (finding.test, *finding.alike)
        if test
    }
    here = {case.test for case in result.cases}
    for case in result.cases:
        yield _test(result, case, changes.get(case.test), findings.get(case.test))
    for change in result.tests:
        if change.test not in here:
            yield _test(result, change.case, change, findings.get(change.test))


def _test(
    result: GateResult, test: CaseResult, change: TestChange | None, finding: Finding | None
) -> CaseElement:
    case = _case("gate.test", test.test, test.seconds)
    what = change.change if change is not None else None
    told = what.value if what is not None else ""
    transcript = finding.artifact if finding is not None else test.artifact
    _properties(case, **{TRANSCRIPT: str(transcript or ""), QEMU: test.command})
    if what in (ResultChange.STILL_FAILS, ResultChange.GONE) or test.outcome in (
        "skipped",
        "xfailed",
    ):
        _properties(case, change=told, verdict=verdict_word(test))
        message = ": ".join(filter(None, [told, line(test.message)]))
        case.append(junitparser.Skipped(message or "skipped"))
    elif finding is not None:
        parts = [finding.detail, finding.excerpt]
        verdict = facts.verdict(finding, result)
        _fails(case, verdict, test.message or finding.title, parts, finding.kind.value)
    elif test.failed:
        _fails(case, test.verdict or "product", test.message, [test.message], told)
    else:
        _properties(case, change=told, verdict=verdict_word(test))
    return case


def _case(group: str, name: str, seconds: float = 0.0) -> CaseElement:
    return CaseElement(line(name), group, round(seconds, 3))


def _fails(
    case: CaseElement, verdict: str, message: str, parts: Iterable[str] = (), kind: str = ""
) -> CaseElement:
    _properties(case, **{VERDICT: verdict, "kind": kind})
    result = junitparser.Error if verdict == _INFRASTRUCTURE else junitparser.Failure
    element = result(line(message), line(verdict))
    text = "\n\n".join(clean(part).rstrip() for part in parts if part)
    if text:
        element.text = cut(text, LONGEST)
    case.append(element)
    return case


def _properties(case: CaseElement, **values: str) -> None:
    """Those that are not empty."""
    for name, value in values.items():
        if value:
            case.add_property(name, line(value))
