# SPDX-License-Identifier: MIT
"""The verdict for a terminal. What did not change is counted and takes no line."""

from __future__ import annotations

from harness.coverage.changed import LineFate
from harness.gate.report import facts
from harness.gate.report.mapdiff import changed
from harness.gate.result import GateResult, ResultChange
from harness.plaintext import counted, cut, first, line

_WIDTH = 200
_PATCHES = 4
_FINDINGS = 10
_DETAIL = 24
_STORY = 12
_LIST = 10
_LISTED = (ResultChange.NEWLY_FAILS, ResultChange.NEWLY_PASSES, ResultChange.NEW, ResultChange.GONE)


def render(result: GateResult) -> str:
    """The text, with a newline at the end."""
    sections = [
        [facts.headline(result), *_patches(result)],
        *_findings(result),
        _tests(result),
        _changed(result),
        _warnings_gone(result),
        _map(result),
        _measures(result),
        _few([f"note: {line(note)}" for note in result.notes], "note"),
        _stages(result),
    ]
    blocks = ("\n".join(cut(part, _WIDTH) for part in section) for section in sections if section)
    # Not cut: a path and a command are there to be copied.
    place = f"\nartifacts: {line(str(result.artifacts))}" if result.artifacts else ""
    again = "".join(f"\nonce more: {line(f.again)}" for f in result.findings[:1] if f.again)
    return "\n".join(blocks) + again + place + "\n"


def _patches(result: GateResult) -> list[str]:
    if not result.patches:
        return []
    rows = [f"  {line(patch.name)}: {line(patch.subject)}" for patch in result.patches]
    return [facts.patches_line(result), *_few(rows, "patch", _PATCHES, "patches")]


def _findings(result: GateResult) -> list[list[str]]:
    sections = []
    for finding in result.findings[:_FINDINGS]:
        section = [f"{finding.kind.value}: {line(finding.title)}"]
        if finding.alike:
            section.append(f"    and {facts.alike_line(finding)}")
        if finding.line:
            section.append(f"    at {line(finding.line)}")
        section += [f"    {part}".rstrip() for part in first(finding.detail, _DETAIL)]
        if finding.story:
            section.append("    what its guest was told and answered:")
            section += [f"      {_indented(part)}" for part in finding.story[-_STORY:]]
        if finding.artifact is not None:
            section.append(f"    see {line(facts.shown_path(finding.artifact, result))}")
        sections.append(section)
    left = len(result.findings) - _FINDINGS
    return [*sections, [f"and {counted(left, 'more finding')}"]] if left > 0 else sections


def _indented(text: str) -> str:
    """One line, which may begin with blanks: an answer stands behind what was asked."""
    return " " * min(len(text) - len(text.lstrip(" ")), 8) + line(text)


def _tests(result: GateResult) -> list[str]:
    rows = [f"tests: {facts.tests_line(result)}"]
    if result.selection:
        rows.append(f"  chosen: {line(result.selection)}")
    told = facts.told_tests(result)
    for change, tests in facts.changes(result).items():
        if change not in _LISTED:
            continue
        new = [test for test in tests if test.test not in told]
        words = [" ".join([test.test, test.verdict, test.message]) for test in new]
        rows += _few([f"  {change.value}: {line(text)}" for text in words], "test")
    return rows


def _changed(result: GateResult) -> list[str]:
    said = facts.changed_line(result)
    if not said:
        return []
    rows = [
        f"  {line(item.file)}:{item.line}: {item}: {line(item.text)}"
        for item in facts.changed_code(result)
        if item.fate is not LineFate.TESTS
    ]
    return [f"changed lines: {said}", *_few(rows, "line")]


def _warnings_gone(result: GateResult) -> list[str]:
    return _few([f"warning gone: {line(text)}" for text in result.warnings_gone], "warning")


def _map(result: GateResult) -> list[str]:
    if result.map_before and not result.map_after:
        return ["memory map: of the base only"]
    rows = []
    for item in changed(result):
        places = [str(place) for place in (item.before, item.after) if place is not None]
        kind = "CMA area " if item.cma else ""
        rows.append(f"map: {kind}{line(item.name)} {item.text}: {' -> '.join(places)}")
    return _few(rows, "area")


def _measures(result: GateResult) -> list[str]:
    rows = facts.changed_measures(result)
    same = len(result.measures) - len(rows)
    more = [f"{counted(same, 'measure')} as before"] if same else []
    return [facts.measure_line(measure) for measure in rows] + more


def _stages(result: GateResult) -> list[str]:
    if not result.stages:
        return []
    steps = ", ".join(f"{line(stage.name)} {stage.seconds:.1f} s" for stage in result.stages)
    return [f"stages: {steps}", f"  {facts.own_line(result)}"]


def _few(rows: list[str], what: str, count: int = _LIST, plural: str = "") -> list[str]:
    left = len(rows) - count
    if left <= 0:
        return rows
    many = f"{left} more {plural}" if plural and left > 1 else counted(left, f"more {what}")
    return [*rows[:count], f"  and {many}"]
