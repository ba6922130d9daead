# SPDX-License-Identifier: MIT
"""Sets of source lines, by file, and their short form in JSON: ``"12-15,20"``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Lines = Mapping[str, frozenset[int]]
"""Line numbers from 1, by the file's path in its tree."""


def frozen(lines: Mapping[str, Iterable[int]]) -> dict[str, frozenset[int]]:
    """The same, without files that have no line."""
    return {file: frozenset(numbers) for file, numbers in sorted(lines.items()) if numbers}


def union(*parts: Lines) -> dict[str, frozenset[int]]:
    """All lines of all parts."""
    found: dict[str, set[int]] = {}
    for part in parts:
        for file, numbers in part.items():
            found.setdefault(file, set()).update(numbers)
    return frozen(found)


def packed(lines: Lines) -> dict[str, str]:
    """For JSON: each file's lines as ranges, both ends inclusive."""
    return {file: _ranges(sorted(numbers)) for file, numbers in sorted(lines.items())}


def unpacked(texts: Mapping[str, str]) -> dict[str, frozenset[int]]:
    """What `packed` made. Raises `ValueError` for what it did not make."""
    return frozen({file: _numbers(text) for file, text in texts.items()})


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in parts)


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
