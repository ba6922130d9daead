# SPDX-License-Identifier: MIT
"""When a gate's suite has failed enough tests to be ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from harness.gate.options import GRACE, MOST_FAILURES
from harness.testrun.result import STRICT, CaseResult


class Failures:
    """Asked with each result: whether the failing tests are enough for a judgement."""

    def __init__(
        self,
        excused: Collection[str] = (),
        first: Callable[[CaseResult], object] = lambda case: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`excused` are tests that the base fails too; `first` is called with the first one
        that fails by the system's fault; `clock` gives seconds.
        """
        self._first = first
        self._excused = excused
        self._clock = clock
        self._count = 0
        self._end: float | None = None

    def __call__(self, case: CaseResult) -> bool:
        """Whether the run may end. A known failure that does not fail any more is none."""
        if case.failed and case.test not in self._excused and STRICT not in case.message:
            self._count += 1
            if case.system_at_fault and self._end is None:
                self._end = self._clock() + GRACE
                self._first(case)
        ended = self._end is not None and self._clock() >= self._end
        return ended or self._count >= MOST_FAILURES
