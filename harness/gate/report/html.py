# SPDX-License-Identifier: MIT
"""One page with everything, to be opened as a file: it loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from harness.coverage.changed import ChangedLine, DiffRow, LineFate, diff_rows
from harness.gate.report import facts, svg
from harness.gate.report.mapdiff import Fate, differences
from harness.gate.result import Decision, Finding, GateResult, Measurement, ResultChange
from harness.plaintext import first, last
from harness.report import page, pictures
from harness.report.element import element

_LINES = 2000
"""Of one block; a browser shows no more with ease, and the files have all."""

_TONES = {Decision.ACCEPTED: "good", Decision.REJECTED: "bad"}
_TEST_TONES = {
    ResultChange.NEWLY_FAILS: "bad",
    ResultChange.NEWLY_PASSES: "good",
    ResultChange.GONE: "warn",
}
_FATES = {
    LineFate.TESTS: "good",
    LineFate.BOOT: "warn",
    LineFate.NONE: "bad",
    LineFate.NOT_CODE: "none",
}
_NAMED = 5
"""Tests that are named for one changed line."""
_DIFF_CLASSES = {"+": "plus", "-": "minus", "@": "place"}


def render(result: GateResult, directory: Path | None = None) -> str:
    """The page. Artifacts below `directory`, where the page will be, become links."""
    maps = svg.before_and_after(result)
    boots = [
        ("Before", pictures.timeline(result.boot_before, "Boot of the base")),
        ("After", pictures.timeline(result.boot_after, "Boot with the patch")),
    ]
    present = {
        "Patches": result.patches,
        "Findings": result.findings,
        "Tests": result.tests,
        "Changed lines": result.changed,
        "Memory map": [drawing for drawing in maps if drawing is not None],
        "Boot timeline": [drawing for _, drawing in boots if drawing is not None],
        "Warnings gone": result.warnings_gone,
        "Measures": result.measures,
        "Boot transcript": result.transcript_diff,
        "Stages": result.stages,
        "Notes": result.notes,
    }
    return page.render(
        "gate.html.j2",
        result=result,
        word=facts.word(result.decision),
        tone=_TONES.get(result.decision, "warn"),
        facts=_facts(result),
        sections=[name for name, content in present.items() if content],
        findings=[_finding(found, result, directory) for found in result.findings],
        tests_line=facts.tests_line(result) if result.tests else "",
        changes=list(facts.changes(result).items()),
        test_tones=_TEST_TONES,
        changed_line=facts.changed_line(result),
        changed_lines=_changed(result),
        maps=list(zip(("Before", "After"), maps, strict=True)),
        boots=boots,
        differences=differences(result),
        same_fate=Fate.SAME,
        measures=[(measure, _numbers(measure)) for measure in result.measures],
        transcript=_coloured(result.transcript_diff),
        own_line=facts.own_line(result) if result.stages else "",
    )


def _facts(result: GateResult) -> list[tuple[str, str]]:
    return [
        ("Base", result.base),
        ("Patched kernel", result.release),
        ("Tests", facts.tests_line(result)),
        ("Chosen", result.selection),
        ("Started", result.started),
        ("Time", facts.own_line(result) if result.stages else ""),
        ("Artifacts", str(result.artifacts or "")),
    ]


def _finding(finding: Finding, result: GateResult, directory: Path | None) -> dict[str, object]:
    path, below = finding.artifact, None
    if path is not None:
        below = facts.link(path, directory)
    return {
        "tone": "bad" if result.decision is Decision.REJECTED else "warn",
        "kind": finding.kind.value,
        "title": finding.title,
        "meaning": facts.MEANINGS[finding.kind],
        "verdict": facts.verdict(finding, result),
        "alike": finding.alike,
        "line": finding.line,
        "story": first("\n".join(finding.story), _LINES) if finding.story else [],
        "again": finding.again,
        "detail": first(finding.detail, _LINES),
        "excerpt": last(finding.excerpt, _LINES),
        "path": facts.shown_path(path, result) if path is not None else "",
        # With "./" a colon in a file's name cannot make a scheme of it.
        "link": "./" + quote(below.as_posix(), errors="surrogateescape") if below else "",
    }


def _changed(result: GateResult) -> list[tuple[str, list[dict[str, object]]]]:
    """The diff by file: each line with its look, and an added one with the first tests that
    execute it.
    """
    known = {(item.file, item.line): item for item in result.changed}
    rows = diff_rows(result.diff) or [
        DiffRow(item.file, "+", item.line, item.text) for item in result.changed
    ]
    files: dict[str, list[dict[str, object]]] = {}
    for row in rows[:_LINES]:
        item = known.get((row.file, row.line)) if row.kind == "+" else None
        files.setdefault(row.file, []).append(_row(row, item))
    return list(files.items())


def _row(row: DiffRow, item: ChangedLine | None) -> dict[str, object]:
    tests = item.tests if item is not None else ()
    more = len(tests) - _NAMED
    looks = {"-": "gone", " ": "", "@": "gap", "+": "none"}
    return {
        "kind": row.kind.replace("@", "…"),
        "number": row.line if row.kind in "+ " else "",
        "text": row.text,
        "said": str(item) if item is not None else "",
        "tests": [*tests[:_NAMED], *([f"and {more} more"] if more > 0 else [])],
        "look": _FATES[item.fate] if item is not None else looks[row.kind],
    }


def _numbers(measure: Measurement) -> list[str]:
    return [
        facts.figure(measure.base, measure.unit),
        facts.figure(measure.patched, measure.unit),
        facts.change_text(measure),
        f"{measure.ratio:.3f}" if measure.base else "",
        f"{measure.limit:.3f}" if measure.limit is not None else "none",
    ]


def _coloured(rows: Sequence[str]) -> list[str | Markup]:
    return [
        element("span", row, class_=_DIFF_CLASSES[row[0]]) if row[:1] in _DIFF_CLASSES else row
        for row in first("\n".join(rows), _LINES)
    ]
