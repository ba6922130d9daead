# SPDX-License-Identifier: MIT
"""From a diff to the lines of the base that stand for it: who executed these executes the change.

A line that is changed stands for itself. Where lines are put in, or have no instruction of their
own, the nearest ones with instructions before and after in the function stand for them, at the
beginning of a block or behind a label the one after alone; for a declaration, a label or a
directive all lines of the function do.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

from harness.coverage.lines import Lines
from harness.coverage.record import CoverageRecord

_FILES = re.compile(r"^(?:---|\+\+\+) (?:[ab]/)?([^\t\n]+)")
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_COMMENT = re.compile(r"\s*(?:/\*(?:(?!\*/).)*(?:\*/)?|//.*)?\s*$")
"""Blank lines, and comments that begin and end there or go on."""
_NEUTRAL = re.compile(rf"{_COMMENT.pattern}|\s*[{{}}]*\s*$")
"""These, and braces."""
_WIDE = re.compile(
    r"\s*(?:#|\w+:(?!:)|case\b|default\b|.*\\$"
    r"|(?:const |static |volatile |register |unsigned |signed )*(?!return\b|goto\b|else\b)"
    r"(?:struct |union |enum )?[A-Za-z_]\w*(?:\s+\**|\s*\*+\s*)[A-Za-z_]\w*\s*(?:[=;,\[]|$|\())"
)
"""What may count for a whole function: directives, labels, declarations."""
_OPENS = re.compile(r".*(?:\)|\belse|\bdo)\s*\{\s*$|\s*(?!default\b)\w+:\s*$")
"""The beginning of a block, or a label: what is put in behind it is executed as what follows is."""


@dataclasses.dataclass(frozen=True)
class Hunk:
    """Lines that are taken out, put in, or exchanged."""

    file: str
    """Its name before the change, without ``a/``; the new one where there was none."""
    at: int
    """The first line taken out, in the file before; where none is, the line behind which lines are
    put in (0: at the start).
    """
    removed: tuple[str, ...]
    added: tuple[str, ...]


def is_code(text: str) -> bool:
    """Whether a line may have instructions: more than a comment, blanks and braces."""
    return _NEUTRAL.match(text) is None


def hunks(diff: str) -> Iterator[Hunk]:
    """The changes of a unified diff in its order, without context."""
    file, at, old, new = "", 0, 0, 0
    removed: list[str] = []
    added: list[str] = []

    def done() -> Iterator[Hunk]:
        if removed or added:
            start = at - len(removed) if removed else at - 1
            yield Hunk(file, start, tuple(removed), tuple(added))
            removed.clear()
            added.clear()

    for row in diff.split("\n"):  # a line may hold other separators
        if old or new:
            if row.startswith("-"):
                if added:
                    yield from done()
                removed.append(row[1:])
                at, old = at + 1, old - 1
            elif row.startswith("+"):
                added.append(row[1:])
                new -= 1
            elif not row.startswith("\\"):
                yield from done()
                at, old, new = at + 1, old - 1, new - 1
            continue
        yield from done()
        if match := _HUNK.match(row):
            old, new = int(match[2] or 1), int(match[4] or 1)
            # Of no lines the number is that of the line before.
            at = int(match[1]) + (old == 0)
        elif (match := _FILES.match(row)) and match[1] != "/dev/null":
            file = match[1] if row.startswith("---") or not file else file
            if row.startswith("---"):
                file = match[1]
        elif row.startswith("--- /dev/null"):
            file = ""
    yield from done()


def changed_base_lines(
    diff: str, record: CoverageRecord, source: Callable[[str], Sequence[str]]
) -> dict[str, Lines | None]:
    """For each file of a diff the lines of the base that stand for its changes; None for a file
    where they do not say all: it has no line table, or something outside of functions was changed.
    """
    found: dict[str, set[int] | None] = {}
    texts: dict[str, Sequence[str]] = {}
    extents: dict[str, list[tuple[int, int]]] = {}
    for hunk in hunks(diff):
        lines = found.setdefault(hunk.file, set())
        if hunk.file not in extents:
            texts[hunk.file] = source(hunk.file)
            extents[hunk.file] = _extents(hunk.file, record, texts[hunk.file])
        code = sorted(record.code.get(hunk.file, ()))
        part = _of_hunk(hunk, extents[hunk.file], code, texts[hunk.file])
        found[hunk.file] = None if lines is None or part is None else lines | part
    return {
        file: None if lines is None else {file: frozenset(lines)} for file, lines in found.items()
    }


def _extents(file: str, record: CoverageRecord, source: Sequence[str]) -> list[tuple[int, int]]:
    """The bodies of a file's functions, from the opening brace to the closing one, inclusive."""
    found = []
    for function in record.functions:
        if function.file != file:
            continue
        body = end = 0
        for number in range(function.line, len(source) + 1):
            text = source[number - 1]
            if not body and text.rstrip().endswith("{"):
                body = number
            if text.startswith("}"):
                end = number
                break
        if body and end > body:
            found.append((body, end))
    return sorted(found)


def _of_hunk(
    hunk: Hunk, extents: list[tuple[int, int]], code: list[int], source: Sequence[str]
) -> set[int] | None:
    first, last = hunk.at, hunk.at + max(len(hunk.removed) - 1, 0)
    index = bisect.bisect_right(extents, (first, 1 << 30)) - 1
    changed = (*hunk.removed, *hunk.added)
    if all(map(_COMMENT.match, changed)):
        return set()
    neutral = not any(map(is_code, changed))
    if index < 0 or last >= extents[index][1] or first < extents[index][0]:
        return set() if neutral else None
    body, end = extents[index]
    if hunk.removed and first == body:
        return None
    inside = code[bisect.bisect_left(code, body) : bisect.bisect_right(code, end)]
    if any(map(_WIDE.match, filter(is_code, changed))):
        return set(inside)
    lines = {number for number in inside if hunk.removed and first <= number <= last}
    told = sum(map(is_code, hunk.removed))
    if len(lines) < max(told, 1) or neutral:
        before = [number for number in inside if number < first + (not hunk.removed)]
        after = [number for number in inside if number > last]
        lines |= set(after[:1])
        if neutral or not (lines and _at_beginning(hunk, source)):
            lines |= set(before[-1:])
    return lines or None


def _at_beginning(hunk: Hunk, source: Sequence[str]) -> bool:
    """Whether lines are put in at the beginning of a block that has others, or behind a label, and
    neither end it nor begin another.
    """
    braces = any(set("{}") & set(line) for line in hunk.added)
    if hunk.removed or braces or not 0 < hunk.at < len(source):
        return False
    above, below = source[hunk.at - 1 : hunk.at + 1]
    return bool(_OPENS.match(above)) and not below.lstrip().startswith("}")
