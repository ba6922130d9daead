# SPDX-License-Identifier: MIT
"""What pytest wrote down of a run: each test with its outcome, and whose fault a red one is."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError, Verdict
from harness.host.programs import ROOT

Result = Literal["passed", "failed", "skipped", "xfailed"]
_LOST_WORKER = "crashed while running"
_RANK: dict[Result, int] = {"failed": 0, "xfailed": 1, "skipped": 2, "passed": 3}


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


@dataclasses.dataclass(frozen=True)
class Case:
    """One test of a run."""

    test: str
    """JUnit's class name and name, see `node_of`."""
    result: Result
    """``xfailed``: a known failure, as the test's mark says."""
    verdict: str = ""
    """``product``, ``crash``, ``timeout`` or ``infrastructure``; empty unless it failed."""
    message: str = ""
    """Why it failed, or was skipped."""
    seconds: float = 0.0

    @property
    def node(self) -> str:
        """See `node_of`."""
        return node_of(self.test)


def read_cases(path: Path) -> list[Case]:
    """The tests of a JUnit file, each once. Raises `HarnessError` for what is none."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise HarnessError(f"pytest left no results in {path}: {error}") from error
    cases: dict[str, Case] = {}
    for element in root.iter("testcase"):
        case = _case(element)
        known = cases.get(case.test)
        # A test that fails and whose teardown fails too is there twice: the worse counts.
        if known is None or _RANK[case.result] < _RANK[known.result]:
            cases[case.test] = case
    return list(cases.values())


def _case(element: ElementTree.Element) -> Case:
    test = f"{element.get('classname')}::{element.get('name')}"
    seconds = float(element.get("time", 0))
    skipped = element.find("skipped")
    if skipped is not None:
        result: Result = "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
        return Case(test, result, message=skipped.get("message", ""), seconds=seconds)
    failure = element.find("failure")
    found = failure if failure is not None else element.find("error")
    if found is None:
        return Case(test, "passed", seconds=seconds)
    said = found.get("message", "")
    verdicts = [str(p.get("value")) for p in element.iter("property") if p.get("name") == "verdict"]
    verdict = _verdict(failure is not None, verdicts, f"{said}\n{found.text}")
    return Case(test, "failed", verdict, said, seconds)


def _verdict(failed: bool, verdicts: Sequence[str], text: str) -> str:
    if verdicts:
        return verdicts[0]
    # A test without a guest: an assertion of its own is the product's fault, an error on the way
    # to the test (or in collecting it, or of a worker) is not.
    if failed and _LOST_WORKER not in text:
        return Verdict.PRODUCT.value
    return Verdict.INFRASTRUCTURE.value
