# SPDX-License-Identifier: MIT
"""A summary for a merge request, as GitHub and GitLab show it.

What patches and guests say is in code spans and fenced blocks, where neither of them looks for
markup, mentions or commands. Our own words may quote some of it and are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.coverage.changed import ChangedLine, LineFate
from harness.gate.report import facts
from harness.gate.report.mapdiff import changed
from harness.gate.result import Finding, GateResult, ResultChange
from harness.plaintext import clean, counted, cut, first, last, line

_MOST = 60_000
"""Characters. GitHub takes 65,536 in a comment."""
_WIDTH = 300
_BLOCK_LINES, _BLOCK_CHARACTERS = 60, 6000
_FEW = 10
_BREAK = "\u200b"
_LISTED = (ResultChange.NEWLY_FAILS, ResultChange.NEWLY_PASSES, ResultChange.NEW, ResultChange.GONE)


def render(result: GateResult) -> str:
    """The summary, ready to be posted."""
    parts: list[str] = []
    room = _MOST
    for part in _parts(result):
        room -= len(part) + 2
        if room < 0:
            parts.append("_Shortened: the other reports have the rest._")
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def inline(text: str) -> str:
    """`text` as plain words of a paragraph or a table: no markup, no mention, no link."""
    escaped = re.sub(r"([\\`*_\[\]#!|~$^]|^[+-](?=\s))", r"\\\1", line(text, _WIDTH))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Both look for mentions after the markup is gone, so no escape helps but an invisible space.
    escaped = re.sub(r"(@|\\#|\\!|\\~|\\\$)(?=\S)", rf"\1{_BREAK}", escaped)
    # And for addresses.
    return re.sub(r"(?i)(\bwww|:)(?=\.|//)", rf"\1{_BREAK}", escaped)


def code(text: str) -> str:
    """`text` as a code span, whatever backticks it has."""
    shown = line(text, _WIDTH) or " "
    marks = "`" * (_longest_run(shown) + 1)
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{marks}{padding}{shown}{padding}{marks}"


def fenced(rows: Iterable[str], kind: str = "text") -> str:
    """Lines as a block, whatever backticks they have."""
    # GitLab runs a line such as "/merge", and its search for blocks to skip ends at an inner fence.
    shown = [f" {row}" if row.startswith("/") else row for row in rows]
    text = cut("\n".join(cut(row, _WIDTH) for row in shown), _BLOCK_CHARACTERS)
    marks = "`" * max(3, _longest_run(text) + 1)
    return f"{marks}{kind}\n{text}\n{marks}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _folded(summary: str, content: str) -> str:
    """`summary` is ours: inside its element nothing is escaped."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _parts(result: GateResult) -> Iterable[str]:
    yield f"## Patch gate: {facts.word(result.decision)}"
    if result.reason:
        yield f"**Why**: {inline(result.reason)}"
    yield f"{inline(facts.patches_line(result))}. {inline(facts.tests_line(result))}."
    if result.selection:
        yield f"Tests chosen: {inline(result.selection)}."
    yield from _listed(f"{code(patch.name)} {code(patch.subject)}" for patch in result.patches)
    if result.findings:
        yield f"### {counted(len(result.findings), 'finding')}"
    for finding in result.findings[:_FEW]:
        yield from _finding(finding, result)
    if len(result.findings) > _FEW:
        yield f"And {counted(len(result.findings) - _FEW, 'more finding')}."
    yield from _tests(result)
    if said := facts.changed_line(result):
        yield f"**Changed lines**: {inline(said)}."
        rows = [f"{mark} {item.file}:{item.line}: {item.text}" for mark, item in _marked(result)]
        yield _folded("Each of them", fenced(rows[:_BLOCK_LINES], "diff"))
    yield from _titled("Warnings gone", map(code, result.warnings_gone))
    yield from _titled("Memory map", _map(result))
    yield from _measures(result)
    if result.transcript_diff:
        rows = first("\n".join(result.transcript_diff), _BLOCK_LINES)
        yield _folded("Boot transcript, the difference", fenced(rows, "diff"))
    yield from _titled("Notes", map(inline, result.notes))
    if result.stages:
        steps = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in result.stages)
        yield f"{inline(steps)}. {inline(facts.own_line(result))}."


def _finding(finding: Finding, result: GateResult) -> Iterable[str]:
    verdict = inline(facts.verdict(finding, result))
    yield f"**{finding.kind.value}** ({verdict}): {code(finding.title)}"
    if finding.alike:
        yield f"And {inline(facts.alike_line(finding))}"
    if finding.line:
        yield f"At {code(finding.line)}"
    if clean(finding.detail).strip():
        yield _folded("Explanation", fenced(first(finding.detail, _BLOCK_LINES)))
    if finding.story:
        told = fenced(last("\n".join(finding.story), _BLOCK_LINES))
        yield _folded("What its guest was told and answered", told)
    if clean(finding.excerpt).strip():
        yield _folded("Transcript, its end", fenced(last(finding.excerpt, _BLOCK_LINES)))
    if finding.again:
        yield f"Once more: {code(finding.again)}"


def _tests(result: GateResult) -> Iterable[str]:
    told = facts.told_tests(result)
    for change, tests in facts.changes(result).items():
        new = [test for test in tests if test.test not in told and change in _LISTED]
        rows = (
            " ".join([code(test.test), test.verdict and f"({inline(test.verdict)})"]).rstrip()
            for test in new
        )
        title = change.value.capitalize()
        listed = list(_listed(rows))
        if len(new) > _FEW:
            yield _folded(f"{title}: {counted(len(new), 'test')}", listed[0])
        elif new:
            yield from (f"**{title}**", *listed)


def _marked(result: GateResult) -> Iterable[tuple[str, ChangedLine]]:
    """Changed lines as a diff colours them: green by tests, plain by the boot, red by nothing."""
    marks = {LineFate.TESTS: "+", LineFate.BOOT: " ", LineFate.NONE: "-"}
    return ((marks[item.fate], item) for item in facts.changed_code(result))


def _map(result: GateResult) -> Iterable[str]:
    for item in changed(result):
        places = " → ".join(code(str(place)) for place in (item.before, item.after) if place)
        yield f"{code(item.name)} {item.text}: {places}"


def _measures(result: GateResult) -> Iterable[str]:
    rows = [
        f"| {inline(measure.name)} | {inline(facts.figure(measure.base, measure.unit))} "
        f"| {inline(facts.figure(measure.patched, measure.unit))} "
        f"| {inline(facts.change_text(measure))}{', **regression**' if measure.regressed else ''} |"
        for measure in facts.changed_measures(result)
    ]
    if rows:
        head = ["| Measure | Base | Patched | Change |", "| --- | --: | --: | --: |"]
        yield "\n".join([*head, *rows])
    same = len(result.measures) - len(rows)
    if same:
        yield f"{counted(same, 'measure')} as before."


def _titled(title: str, rows: Iterable[str]) -> Iterable[str]:
    listed = list(_listed(rows))
    if listed:
        yield from (f"### {title}", *listed)


def _listed(rows: Iterable[str], most: int = 50) -> Iterable[str]:
    """One list, or nothing where there are no rows."""
    every = [f"- {row}" for row in rows]
    left = len(every) - most
    if every:
        yield "\n".join([*every[:most], *([f"- and {left} more"] if left > 0 else [])])
