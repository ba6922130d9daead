# SPDX-License-Identifier: MIT
"""Texts that several reports share: figures, counts and headlines of a result."""

from __future__ import annotations

import math
from pathlib import Path

from harness.coverage.changed import ChangedLine, LineFate, counts
from harness.gate.result import (
    Decision,
    Finding,
    FindingKind,
    GateResult,
    Measurement,
    ResultChange,
    TestChange,
)
from harness.plaintext import counted, line

NOT_JUDGED = "not judged"
_NAMED = 3
_VERDICTS = {
    FindingKind.APPLY: NOT_JUDGED,
    FindingKind.INPUT: NOT_JUDGED,
    FindingKind.SCOPE: NOT_JUDGED,
    FindingKind.KERNEL_WARNING: "crash",
    FindingKind.BOOT: "product",
    FindingKind.CRASH: "crash",
    FindingKind.TIMEOUT: "timeout",
    FindingKind.INFRASTRUCTURE: "infrastructure",
}
MEANINGS = {
    FindingKind.INPUT: "What was given is no patch, or is not there.",
    FindingKind.APPLY: "The patch does not fit the base. Nothing was built.",
    FindingKind.SCOPE: "No file that the kernel, the driver, the application or the device tree is"
    " built from differs.",
    FindingKind.BUILD: "The base builds; with the patch it does not.",
    FindingKind.CONTAINED: "The build did what the sandbox forbids, or exceeded one of its limits.",
    FindingKind.COMPILER_WARNING: "The compiler says this of the patched tree, not of the base.",
    FindingKind.KERNEL_WARNING: "The patched kernel logs this, and the base does not.",
    FindingKind.TEST: "The test passes on the base and fails on the patched system.",
    FindingKind.BOOT: "The patched system boots, and answers wrongly where the base is right.",
    FindingKind.CRASH: "The patched kernel panicked or oopsed.",
    FindingKind.TIMEOUT: "The patched system gave no answer by the deadline.",
    FindingKind.COVERAGE: "No test and no boot executes these lines: nothing is known of them.",
    FindingKind.REGRESSION: "The figure is above its limit, against the base in the same run.",
    FindingKind.INFRASTRUCTURE: "The harness, QEMU or the host failed: this judges no patch.",
}
"""What a kind of finding says of the patch."""


def word(decision: Decision) -> str:
    """``REJECTED``."""
    return decision.value.upper()


def headline(result: GateResult) -> str:
    """``REJECTED why``, on one line."""
    comma = "," if result.reason.startswith("but ") else ""
    return f"{word(result.decision)}{comma} {line(result.reason)}".rstrip()


def changed_code(result: GateResult) -> list[ChangedLine]:
    """The changed lines that are code; what executed a line is known of these."""
    lines = (*result.changed, *result.removed)
    return [item for item in lines if item.fate is not LineFate.NOT_CODE]


def changed_line(result: GateResult) -> str:
    """``of 7 changed lines with code, tests execute 4, the boot alone 0, nothing 3``; empty where
    there are none.
    """
    code = changed_code(result)
    if not code:
        return ""
    found = counts(code)
    return (
        f"of {counted(len(code), 'changed line')} with code, tests execute {found[LineFate.TESTS]},"
        f" the boot alone {found[LineFate.BOOT]}, nothing {found[LineFate.NONE]}"
    )


def verdict(finding: Finding, result: GateResult) -> str:
    """The verdict (who is at fault), or ``not judged``."""
    if finding.kind is FindingKind.TEST:
        told = (test.verdict for test in result.tests if test.test == finding.test)
        return next(filter(None, told), "product")
    return _VERDICTS.get(finding.kind, "product")


def alike_line(finding: Finding) -> str:
    """``3 more tests that fail like it: test_a, test_b, …``."""
    names = [test.rpartition("::")[2] for test in finding.alike]
    more = ", …" if len(names) > _NAMED else ""
    many = "tests that fail" if len(names) > 1 else "test that fails"
    return f"{len(names)} more {many} like it: {', '.join(names[:_NAMED])}{more}"


def told_tests(result: GateResult) -> set[str]:
    """The tests that findings are about."""
    return {test for item in result.findings for test in (item.title, item.test, *item.alike)}


def of_kind(result: GateResult, *kinds: FindingKind) -> list[Finding]:
    """The findings of these kinds."""
    return [finding for finding in result.findings if finding.kind in kinds]


def changes(result: GateResult) -> dict[ResultChange, list[TestChange]]:
    """The tests by what became of them, the worst first; no empty lists."""
    groups = {change: [t for t in result.tests if t.change is change] for change in ResultChange}
    return {change: tests for change, tests in groups.items() if tests}


def tests_line(result: GateResult) -> str:
    """``119 of 120 tests passed (a selection of 402); newly fails: 1``."""
    if not result.tests_run:
        return "no test ran"
    text = f"{result.tests_passed} of {counted(result.tests_run, 'test')} passed"
    if result.tests_of > result.tests_run:
        text += f" (a selection of {result.tests_of})"
    counts = [f"{change.value}: {len(tests)}" for change, tests in changes(result).items()]
    return "; ".join([text, *counts])


def patches_line(result: GateResult) -> str:
    """``2 patches on Linux 6.1.192, as 6.1.192-gate``."""
    number = len(result.patches)
    count = "1 patch" if number == 1 else f"{number} patches"
    release = f", as {line(result.release)}" if result.release else ""
    return f"{count} on {line(result.base)}{release}"


def figure(value: float, unit: str) -> str:
    """``612.3 ms``, ``0.042 ms``, ``4,912,344 bytes``."""
    if unit == "bytes" and math.isfinite(value):
        return f"{value:,.0f} bytes"
    return f"{value:.1f} {unit}" if abs(value) >= 10 else f"{value:.3g} {unit}"


def percent(ratio: float) -> str:
    """A ratio as a change: ``+0.1 %``, with more decimals where it would look like none."""
    change = (ratio - 1) * 100
    decimals = next((n for n in (1, 2) if round(change, n)), 3) if change else 1
    return f"{change:+.{decimals}f} %"


def change_text(measure: Measurement) -> str:
    """``+0.1 %``, ``as before``, or ``from 0`` for a base that has no ratio."""
    if measure.patched == measure.base:
        return "as before"
    return percent(measure.ratio) if measure.base else "from 0"


def measure_line(measure: Measurement) -> str:
    """``boot 612.3 ms -> 613.0 ms (+0.1 %)``, and the limit where it is above it."""
    base, patched = (figure(value, measure.unit) for value in (measure.base, measure.patched))
    text = f"{measure.name} {base} -> {patched} ({change_text(measure)})"
    if measure.regressed and measure.limit is not None:
        text += f", above the limit of {percent(measure.limit)}"
    return line(text)


def changed_measures(result: GateResult) -> list[Measurement]:
    """Those whose two figures differ."""
    return [measure for measure in result.measures if measure.base != measure.patched]


def total_seconds(result: GateResult) -> float:
    """Wall time of all stages."""
    return sum(stage.seconds for stage in result.stages)


def own_line(result: GateResult) -> str:
    """``168.6 s in all, 2.3 s (1.4 %) of them the harness's own``."""
    total, own = total_seconds(result), own_seconds(result)
    share = f" ({own / total:.1%})".replace("%", " %") if total else ""
    return f"{total:.1f} s in all, {own:.1f} s{share} of them the harness's own"


def own_seconds(result: GateResult) -> float:
    """Wall time in which neither the compiler nor a guest ran."""
    return sum(stage.own for stage in result.stages)


def shown_path(path: Path, result: GateResult) -> str:
    """`path`, below the artifacts' directory without it."""
    if result.artifacts is not None and path != result.artifacts:
        path = path.relative_to(result.artifacts) if _below(path, result.artifacts) else path
    return str(path)


def link(path: Path, directory: Path | None) -> Path | None:
    """`path` as seen from `directory`; None where it is not below it."""
    if directory is None or not _below(path, directory):
        return None
    return path.relative_to(directory)


def _below(path: Path, directory: Path) -> bool:
    return ".." not in path.parts and path.is_relative_to(directory)
