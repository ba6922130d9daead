# SPDX-License-Identifier: MIT
"""The lines that a patch changes, and who executed them."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping

from harness.coverage.hunks import hunks, is_code
from harness.coverage.record import CoverageRecord

_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")
_BEFORE = re.compile(r"^--- (?:a/)?([^\t\n]+)")
_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class LineFate(enum.Enum):
    """Who executed a changed line."""

    TESTS = "tests"
    BOOT = "boot"
    NONE = "none"
    NOT_CODE = "not code"
    """It has no instruction: a comment, a declaration, or in a file that was not looked at."""


@dataclasses.dataclass(frozen=True)
class ChangedLine:
    """An added or changed line of the patched tree, or a removed one of the base."""

    file: str
    line: int
    """From 1, in the patched file; of a removed line in the base's."""
    text: str
    fate: LineFate = LineFate.NOT_CODE
    tests: tuple[str, ...] = ()
    """The tests that executed it, the most specific first."""
    removed: bool = False
    """It is one of the base, and nothing takes its place: the rest is said of the base."""

    def __str__(self) -> str:
        return f"removed, on the base {self._said}" if self.removed else self._said

    @property
    def _said(self) -> str:
        if self.fate is LineFate.TESTS:
            count = len(self.tests)
            return f"executed by {count} test{'' if count == 1 else 's'}"
        return {
            LineFate.BOOT: "executed by the boot only",
            LineFate.NONE: "executed by none",
            LineFate.NOT_CODE: "not code",
        }[self.fate]


@dataclasses.dataclass(frozen=True)
class DiffRow:
    """A line of a unified diff."""

    file: str
    kind: str
    """``+``, ``-``, a blank for context, ``@`` between two hunks."""
    line: int
    """Its number in the file with the change; of a removed line, that of the line it stood before.
    """
    text: str = ""


def diff_rows(diff: str) -> list[DiffRow]:
    """The lines of a unified diff, file by file; names are those after the change."""
    found: list[DiffRow] = []
    file, before, number, left, removed = "", "", 0, 0, 0
    for row in diff.split("\n"):  # a line may hold other separators: a form feed, a binary file
        if left or removed:
            kind = row[:1]
            if kind == "\\":
                continue
            found.append(DiffRow(file, kind if kind in ("+", "-") else " ", number, row[1:]))
            number += kind != "-"
            left -= kind != "-"
            removed -= kind != "+"
        elif match := _HUNK.match(row):
            removed = int(match[1] or 1)
            number, left = int(match[2]), int(match[3] or 1)
            if found and found[-1].file == file:
                found.append(DiffRow(file, "@", number))
        elif row.startswith("--- ") and (match := _BEFORE.match(row)):
            before = match[1]
        elif match := _FILE.match(row):
            file = before if match[1] == "/dev/null" else match[1]
    return found


def added_lines(diff: str) -> list[ChangedLine]:
    """The lines that a unified diff adds, in its order. Files that it deletes have none."""
    return [ChangedLine(row.file, row.line, row.text) for row in diff_rows(diff) if row.kind == "+"]


def removed_lines(diff: str) -> list[ChangedLine]:
    """The lines that a unified diff takes out without putting code in their place."""
    return [
        ChangedLine(hunk.file, hunk.at + number, text, removed=True)
        for hunk in hunks(diff)
        if not any(map(is_code, hunk.added))
        for number, text in enumerate(hunk.removed)
    ]


def judged(lines: Iterable[ChangedLine], record: CoverageRecord) -> list[ChangedLine]:
    """The same with their fates; `record` is of the patched kernel (for removed ones: the base)."""
    return [_judged(line, record) for line in lines]


def _judged(line: ChangedLine, record: CoverageRecord) -> ChangedLine:
    if line.line not in record.code.get(line.file, ()):
        return dataclasses.replace(line, fate=LineFate.NOT_CODE, tests=())
    tests = tuple(record.tests_of(line.file, line.line))
    if tests:
        return dataclasses.replace(line, fate=LineFate.TESTS, tests=tests)
    boot = line.line in record.boot.get(line.file, ())
    return dataclasses.replace(line, fate=LineFate.BOOT if boot else LineFate.NONE, tests=())


def counts(lines: Iterable[ChangedLine]) -> Mapping[LineFate, int]:
    """How many lines have each fate."""
    found = dict.fromkeys(LineFate, 0)
    for line in lines:
        found[line.fate] += 1
    return found
