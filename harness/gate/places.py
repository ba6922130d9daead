# SPDX-License-Identifier: MIT
"""Where in the sources each finding is: for checkers' lines, annotations, code-quality reports."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Collection, Iterator

from harness.coverage.changed import ChangedLine, LineFate
from harness.gate.result import Decision, Finding, FindingKind, GateResult
from harness.plaintext import line

_MOST_UNTESTED = 3
# From the beginning of a word only: a text may be one long word.
_COMPILER = re.compile(r"(?<![\w.+/-])(?:\.\./)*+([\w.+/-]+\.[chS]):(\d+)(?::\d+)?: ")
_KERNEL = re.compile(r"(?:\bat|\bin|:) (?:\.\./)*+([\w.+/-]+\.[chS]):(\d+)\b")


class Severity(enum.Enum):
    """As the kernel's checkpatch has it."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    CHECK = "CHECK"


_SEVERITIES = {
    FindingKind.COMPILER_WARNING: Severity.WARNING,
    FindingKind.KERNEL_WARNING: Severity.WARNING,
    FindingKind.REGRESSION: Severity.WARNING,
    FindingKind.COVERAGE: Severity.WARNING,
    FindingKind.INFRASTRUCTURE: Severity.WARNING,
    FindingKind.INPUT: Severity.CHECK,
    FindingKind.SCOPE: Severity.CHECK,
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A finding at a line of a file of the patched tree."""

    file: str
    line: int
    """From 1."""
    severity: Severity
    kind: str
    """What it is about: ``test newly fails``."""
    text: str
    """One line."""
    detail: str = ""
    """More lines; may be empty."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity.value}: {self.kind}: {self.text}"


def places(result: GateResult) -> list[Place]:
    """A place for each finding, and for the first changed lines that nothing executes."""
    found = [_place(result, finding) for finding in result.findings]
    if result.decision is Decision.ACCEPTED:
        found += _untested(result.changed)
    return list(dict.fromkeys(found))


def _place(result: GateResult, finding: Finding) -> Place:
    severity = _SEVERITIES.get(finding.kind, Severity.ERROR)
    file, number = _where(result, finding)
    text = finding.title.removeprefix(f"{file}:{number}: ")
    if finding.test and finding.detail:
        text = f"{finding.test.rpartition('::')[2]}: {finding.detail.strip().splitlines()[0]}"
    return Place(file, number, severity, finding.kind.value, line(text), finding.detail)


def _where(result: GateResult, finding: Finding) -> tuple[str, int]:
    files = [_tree_path(file) for patch in result.patches for file in patch.files]
    for pattern in (_COMPILER, _KERNEL):
        named = _named(pattern, f"{finding.title}\n{finding.detail}", files)
        if named is not None:
            return named
    code = [row for row in result.changed if row.fate is not LineFate.NOT_CODE]
    executed = [row for row in code if finding.test in row.tests]
    for row in (*executed, *code, *result.changed):
        return row.file, row.line
    return (files[0] if files else "patch"), 1


def _named(pattern: re.Pattern[str], text: str, files: Collection[str]) -> tuple[str, int] | None:
    """The first place in a text that is in a file of the patches."""
    for match in pattern.finditer(text):
        if match[1] in files:
            return match[1], int(match[2])
    return None


def _tree_path(file: str) -> str:
    """As a diff names it: the kernel's files without ``linux/``."""
    return file.removeprefix("linux/")


def _untested(changed: Collection[ChangedLine]) -> Iterator[Place]:
    before: tuple[str, int] | None = None
    told = 0
    for row in changed:
        if row.fate is LineFate.NONE:
            if before != (row.file, row.line - 1) and told < _MOST_UNTESTED:
                told += 1
                text = "no test and no boot executes this line"
                kind = FindingKind.COVERAGE.value
                yield Place(row.file, row.line, Severity.CHECK, kind, text)
            before = (row.file, row.line)
