# SPDX-License-Identifier: MIT
"""The lines that a patch changes, and who executed them."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping

from harness.coverage.record import CoverageRecord

_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")
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
    """An added or changed line of the patched tree."""

    file: str
    line: int
    """From 1, in the patched file."""
    text: str
    fate: LineFate = LineFate.NOT_CODE
    tests: tuple[str, ...] = ()
    """The tests that executed it, the most specific first."""

    def __str__(self) -> str:
        if self.fate is LineFate.TESTS:
            count = len(self.tests)
            return f"executed by {count} test{'' if count == 1 else 's'}"
        return {
            LineFate.BOOT: "executed by the boot only",
            LineFate.NONE: "executed by none",
            LineFate.NOT_CODE: "not code",
        }[self.fate]


def added_lines(diff: str) -> list[ChangedLine]:
    """The lines that a unified diff adds, in its order. Files that it deletes have none."""
    found: list[ChangedLine] = []
    file, number, left = "", 0, 0
    removed = 0
    for row in diff.splitlines():
        if left or removed:
            if row.startswith("+"):
                found.append(ChangedLine(file, number, row[1:]))
                number, left = number + 1, left - 1
            elif row.startswith("-"):
                removed -= 1
            elif not row.startswith("\\"):
                number, left, removed = number + 1, left - 1, removed - 1
        elif match := _HUNK.match(row):
            removed = int(match[1] or 1)
            number, left = int(match[2]), int(match[3] or 1)
        elif match := _FILE.match(row):
            file = match[1]
    return [line for line in found if line.file != "/dev/null"]


def judged(lines: Iterable[ChangedLine], record: CoverageRecord) -> list[ChangedLine]:
    """The same with their fates; `record` is of the patched kernel."""
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
