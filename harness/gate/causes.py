# SPDX-License-Identifier: MIT
"""Failing tests by cause: one finding for those that fail for one, the simplest story first."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from harness.gate.result import Finding
from harness.testrun.result import CaseResult

_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")


def by_cause(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each cause, that of the test whose guest was told least; the others of the
    same are `Finding.alike`. Two fail for one cause where they say the same but for numbers, or
    fail at one line.
    """
    groups: list[list[Finding]] = []
    for finding in findings:
        same = [group for group in groups if any(_alike(finding, other) for other in group)]
        groups = [group for group in groups if group not in same]
        groups.append([*(item for group in same for item in group), finding])
    told = [sorted(group, key=_length) for group in groups]
    return [
        dataclasses.replace(group[0], alike=tuple(item.test for item in group[1:]))
        for group in sorted(told, key=lambda group: _length(group[0]))
    ]


def alike(one: CaseResult, other: CaseResult) -> bool:
    """Whether two tests fail for one cause, as `by_cause` takes it."""
    if one.verdict != other.verdict:
        return False
    first, second = (_first_line(case.message) for case in (one, other))
    return bool(first and first == second) or bool(one.line and one.line == other.line)


def _length(finding: Finding) -> tuple[int, int, str]:
    return len(finding.story) or 1 << 20, len(finding.detail), finding.test


def _alike(one: Finding, other: Finding) -> bool:
    if one.kind is not other.kind:
        return False
    return _shape(one) == _shape(other) or bool(one.line and one.line == other.line)


def _shape(finding: Finding) -> str:
    return _first_line(finding.detail) or finding.test


def _first_line(text: str) -> str:
    """Without its numbers."""
    return _NUMBER.sub("#", text.strip().partition("\n")[0])
