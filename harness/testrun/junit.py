# SPDX-License-Identifier: MIT
"""JUnit files: what pytest wrote down of a run is read here, and every file of ours is written."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import junitparser

from harness.errors import HarnessError, Verdict
from harness.host.project import ROOT
from harness.testrun.result import CaseResult, Outcome

_LOST_WORKER = "crashed while running"
_RANK: dict[Outcome, int] = {"failed": 0, "xfailed": 1, "skipped": 2, "passed": 3}
LINE = "line"
"""The property that says where in its source it failed."""
VERDICT = "verdict"
"""The property that says who is at fault (`harness.errors.Verdict`) where a test failed, else one
of the next three."""
PASS, SKIP, XFAIL = "pass", "skip", "xfail"
TRANSCRIPT, QEMU = "transcript", "qemu"
"""The properties for each machine of a test: its transcript's path, and how QEMU was started."""


def node_of(test: str) -> str:
    """A test as pytest takes it on its command line: ``tests/qemu/test_x.py::TestY::test_z[p]``.

    `test` is JUnit's class name and name: ``tests.qemu.test_x.TestY::test_z[p]``.
    """
    words, _, name = test.partition("::")
    parts = words.split(".")
    for end in range(len(parts), 0, -1):
        file = "/".join(parts[:end]) + ".py"
        if (ROOT / file).is_file():
            return "::".join([file, *parts[end:], name])
    return test


def directory_name(node: str) -> str:
    """Name of the directory of a test's transcripts, below ``--qemu-artifacts``."""
    return re.sub(r"[^\w.=-]+", "_", node).strip("_")


def transcript_of(node: str, transcripts: Path) -> Path | None:
    """A test's transcript below ``--qemu-artifacts``: its own, or that of its class's machine; the
    directory where that has no such file, None where there is none.
    """
    for name in (node, node.rpartition("::")[0]):
        place = transcripts / directory_name(name)
        if name and place.is_dir():
            transcript = place / "transcript.txt"
            return transcript if transcript.is_file() else place
    return None


class CaseElement(junitparser.TestCase):
    """A ``testcase`` that may have properties, as pytest writes them."""

    def add_property(self, name: str, value: str) -> None:
        """Adds one."""
        group = self.child(junitparser.Properties)
        if group is None:
            group = junitparser.Properties()
            self.append(group)
        group.add_property(junitparser.Property(name, value))

    def properties(self) -> Mapping[str, str]:
        """All of them by name."""
        group = self.child(junitparser.Properties)
        return {item.name: item.value or "" for item in group or () if item.name}


class SuiteElement(junitparser.TestSuite):
    """A ``testsuite`` of such."""

    testcase = CaseElement


class Document(junitparser.JUnitXml):
    """A file of such."""

    testsuite = SuiteElement


def read_cases(path: Path) -> list[CaseResult]:
    """The tests of a JUnit file, each once. Raises `HarnessError` for what is none."""
    try:
        document = Document.fromfile(str(path))
        found = [_case(CaseElement.fromelem(case)) for suite in document for case in suite]
    # SyntaxError: what lxml and xml.etree raise has no other base in common.
    except (OSError, SyntaxError, ValueError, junitparser.JUnitXmlError) as error:
        raise HarnessError(f"pytest left no results in {path}: {error}") from error
    cases: dict[str, CaseResult] = {}
    for case in found:
        known = cases.get(case.test)
        # A test that fails and whose teardown fails too is there twice: the worse counts.
        if known is None or _RANK[case.outcome] < _RANK[known.outcome]:
            cases[case.test] = case
    return list(cases.values())


def render_suite(suite: SuiteElement, seconds: float) -> str:
    """A file of one suite that took so long, as text. Its texts must be valid in XML 1.0."""
    document = Document(suite.name)
    document.append(suite)
    document.update_statistics()
    document.time = suite.time = round(seconds, 3)
    content = io.BytesIO()
    document.write(content)
    return content.getvalue().decode() + "\n"


def _case(element: CaseElement) -> CaseResult:
    found = _result(element)
    return dataclasses.replace(found, command=element.properties().get(QEMU, ""))


def _result(element: CaseElement) -> CaseResult:
    test = node_of(f"{element.classname}::{element.name}")
    seconds = element.time or 0.0
    found: dict[type[object], Any] = {}
    for result in element.result:
        found.setdefault(type(result), result)
    skipped = found.get(junitparser.Skipped)
    if skipped is not None:
        outcome: Outcome = "xfailed" if skipped.type == "pytest.xfail" else "skipped"
        return CaseResult(test, outcome, message=skipped.message or "", seconds=seconds)
    failure = found.get(junitparser.Failure)
    bad = failure if failure is not None else found.get(junitparser.Error)
    if bad is None:
        return CaseResult(test, "passed", seconds=seconds)
    said = bad.message or ""
    texts = (said, bad.text or "")
    verdict = element.properties().get(VERDICT) or _verdict(failure is not None, texts)
    line = element.properties().get(LINE, "")
    return CaseResult(test, "failed", verdict, said, seconds, line=line)


def verdict_word(case: CaseResult) -> str:
    """The value of `VERDICT` for a result."""
    if case.failed:
        return case.verdict
    return {"passed": PASS, "skipped": SKIP, "xfailed": XFAIL}[case.outcome]


def _verdict(failed: bool, texts: Iterable[str]) -> str:
    # A test without a guest: an assertion of its own is the product's fault, an error on the way
    # to the test (or in collecting it, or of a worker) is not.
    if failed and not any(_LOST_WORKER in text for text in texts):
        return Verdict.PRODUCT.value
    return Verdict.INFRASTRUCTURE.value
