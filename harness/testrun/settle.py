# SPDX-License-Identifier: MIT
"""Runs tests again that did not pass, until it is known what they say of the system.

One failure proves little: QEMU may have been killed, the host may have stood still unnoticed, the
test may be unsteady. So a failure counts when it came twice; one that came and went says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from harness.errors import Verdict
from harness.testrun.result import FAILED, PASSED, CaseResult, SuiteResult

ROUNDS = 3
"""How often tests are run again at most."""

Again = Callable[[Sequence[str]], SuiteResult]
"""Runs some tests again."""


def settled(
    first: SuiteResult,
    again: Again,
    at_once: Collection[Verdict] = (),
    enough: int | None = None,
    excused: Collection[str] = (),
    alike: Callable[[CaseResult, CaseResult], bool] = lambda one, other: False,
) -> SuiteResult:
    """The run `first` with each failure confirmed, passed, or put down as infrastructure.

    A failure whose verdict is one of `at_once` counts without being seen again. Once as many as
    `enough` are confirmed, the others stay as they were; so do those that are `alike`, for one
    cause, with a confirmed one, and those that are `excused`, unless infrastructure failed them.
    """
    seen = {
        case.test: [case]
        for case in first.failures
        if case.test not in excused or not case.system_at_fault
    }
    for _ in range(ROUNDS):
        verdicts = {test: decided(results, at_once) for test, results in seen.items()}
        confirmed = [result for result in verdicts.values() if result is not None and result.failed]
        waiting = [
            test
            for test, result in verdicts.items()
            if result is None and not _explained(seen[test], confirmed, alike)
        ]
        if not waiting or (enough is not None and len(confirmed) >= enough):
            break
        run = again(waiting)
        for test in waiting:
            if (case := run.by_test.get(test)) is not None:
                seen[test].append(case)
    final = {test: _final(results, at_once) for test, results in seen.items()}
    cases = tuple(final.get(case.test, case) for case in first.cases)
    status = first.status
    if status in (PASSED, FAILED):
        status = FAILED if any(case.failed for case in cases) else PASSED
    return dataclasses.replace(first, cases=cases, status=status)


def _explained(
    results: Sequence[CaseResult],
    confirmed: Sequence[CaseResult],
    alike: Callable[[CaseResult, CaseResult], bool],
) -> bool:
    """Whether a test has failed each time as a confirmed one did."""
    return all(
        case.system_at_fault and any(alike(case, other) for other in confirmed) for case in results
    )


def decided(results: Sequence[CaseResult], at_once: Collection[Verdict] = ()) -> CaseResult | None:
    """What several results of one test come to; None where it has to be run again."""
    faults = [result for result in results if result.system_at_fault]
    passes = [result for result in results if not result.failed]
    for fault in faults:
        if Verdict(fault.verdict) in at_once:
            return fault
    if len(faults) >= 2:
        return faults[0]
    if passes and not faults:
        return passes[-1]
    if faults and len(passes) >= 2:
        return _unsteady(faults, passes)
    return None


def _final(results: Sequence[CaseResult], at_once: Collection[Verdict]) -> CaseResult:
    known = decided(results, at_once)
    if known is not None:
        return known
    faults = [result for result in results if result.system_at_fault]
    passes = [result for result in results if not result.failed]
    if faults and passes:
        return _unsteady(faults, passes)
    # Infrastructure only; or a failure that nobody looked at again: that one stays as it is.
    return results[-1]


def _unsteady(faults: Sequence[CaseResult], passes: Sequence[CaseResult]) -> CaseResult:
    times = "once" if len(passes) == 1 else f"{len(passes)} times"
    told = f"it failed once and passed {times} when it was run again: {faults[0].message}"
    return dataclasses.replace(faults[0], verdict=Verdict.INFRASTRUCTURE.value, message=told)
