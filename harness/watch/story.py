# SPDX-License-Identifier: MIT
"""The shortest story of why a run failed: a few lines that a person reads first."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.testrun.result import CaseResult

LINES = 5
_RULE = re.compile(r"^[-=_ ]{8,}|^-+ \w+ -+$")
_CALLS = re.compile(r"^\s*(?:PC is at|LR is at|Call trace|Hardware name|CPU:|Modules linked)")


def of_case(case: CaseResult) -> tuple[str, ...]:
    """Of a failing test: what it says, without its machine's logs."""
    told = []
    for line in case.message.splitlines():
        if _RULE.match(line) or _CALLS.match(line):
            break
        if line.strip():
            told.append(line.rstrip())
    return tuple(told[:LINES]) or (f"{case.verdict}: no more is known",)


def of_text(text: str) -> tuple[str, ...]:
    """Of an error: its first lines without the path of a log."""
    rows = [line.rstrip() for line in text.splitlines() if line.strip()]
    return tuple(row for row in rows if not row.startswith("log: "))[:LINES]


def first(cases: Sequence[CaseResult]) -> CaseResult | None:
    """The failing test to be shown: one that says something of the system, if there is one."""
    bad = [case for case in cases if case.failed]
    return next((case for case in bad if case.known), bad[0] if bad else None)
