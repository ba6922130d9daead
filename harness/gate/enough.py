# SPDX-License-Identifier: MIT
"""When a gate's suite has failed enough tests to be ended."""

from __future__ import annotations

from collections.abc import Callable, Collection

from harness.gate.options import MOST_FAILURES
from harness.testrun.result import STRICT, CaseResult


class Failures:
    """Asked with each result: whether the failing tests are enough for a judgement."""

    def __init__(
        self,
        excused: Collection[str] = (),
        first: Callable[[CaseResult], object] = lambda case: None,
    ) -> None:
        """`excused` are tests that the base fails too; `first` is called with the first one
        that fails by the system's fault.
        """
        self._first = first
        self._excused = excused
        self._count = 0
        self._ended = False

    def __call__(self, case: CaseResult) -> bool:
        """Whether the run may end: at the first one by the system's fault, while the tests that are
        under way come to their ends. A known failure that does not fail any more is none.
        """
        if case.failed and case.test not in self._excused and STRICT not in case.message:
            self._count += 1
            if case.system_at_fault and not self._ended:
                self._ended = True
                self._first(case)
        return self._ended or self._count >= MOST_FAILURES
