# SPDX-License-Identifier: MIT
"""What a gate collects on its way to a decision."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence

from harness.gate.events import CaseDone, StageBegun, StageDone, Watch
from harness.gate.result import Decision, Finding, FindingKind, GateResult, Stage
from harness.testrun.result import CaseResult

MOST_LINES = 100
"""Lines of a compiler or of a kernel that become findings, of each kind: a patch may have 100,000
made, and nobody reads more.
"""


class Decided(Exception):
    """The decision is made: the rest of the run is skipped."""

    def __init__(self, decision: Decision, reason: str, *findings: Finding) -> None:
        super().__init__(reason)
        self.decision = decision
        self.reason = reason
        self.findings = findings


class GateRecord:
    """The result while it is collected."""

    def __init__(self, blank: GateResult, watch: Watch) -> None:
        self._watch = watch
        self._blank = blank
        self._result = blank
        self._unnamed = 0
        """Findings that are counted and not in the result."""

    def _begin_again(self, note: str) -> None:
        """Drops the findings so far; `note` says why."""
        self._result = dataclasses.replace(self._blank, notes=(note,))
        self._unnamed = 0

    def _add(self, **fields: object) -> None:
        self._result = dataclasses.replace(self._result, **fields)  # type: ignore[arg-type]

    def _note(self, text: str) -> None:
        self._add(notes=(*self._result.notes, text))

    def _case(self, case: CaseResult) -> None:
        self._watch(CaseDone(case))

    def _found(self, *findings: Finding) -> None:
        self._add(findings=(*self._result.findings, *findings))

    def _found_lines(self, kind: FindingKind, lines: Sequence[str]) -> None:
        """A finding for each line, as far as anybody reads them."""
        self._found(*(Finding(kind, line) for line in lines[:MOST_LINES]))
        if rest := len(lines[MOST_LINES:]):
            self._unnamed += rest - 1
            self._found(Finding(kind, f"and {rest} more like these"))

    def _finish(self, decision: Decision, reason: str, *findings: Finding) -> None:
        self._found(*findings)
        self._add(decision=decision, reason=reason)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[list[float]]:
        """Times a step; the block adds seconds in which compilers or guests ran."""
        others: list[float] = []
        self._watch(StageBegun(name))
        begun = time.monotonic()
        try:
            yield others
        finally:
            seconds = time.monotonic() - begun
            own = max(seconds - sum(others), 0.0)
            stage = Stage(name, seconds, own)
            self._add(stages=(*self._result.stages, stage))
            self._watch(StageDone(stage))
