# SPDX-License-Identifier: MIT
"""Runs of the suite until it is known what they say of the system."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from harness.errors import HarnessError, Verdict
from harness.gate.findings import short_name
from harness.host.files import write_text
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.pytest_plugin.selection import LEFT_OUT
from harness.testrun.result import FAILED, STRICT, CaseResult, SuiteResult, joined, lost
from harness.testrun.settle import settled
from harness.testrun.suite import SYSTEM, Enough, Suite

MOST_PARTS = 4
"""A run that ends early is gone on with, but not more often than so."""
MANY = 10_000
"""More failing tests than there are: a run that is not ended early."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """When a run has said enough."""

    stop_after: int = MANY
    """Failing tests after which the others are left out."""
    ends: Callable[[], Enough] | None = None
    """Gives what is asked with each result whether the others may be left out."""
    excused: Collection[str] = ()
    """Tests whose failure says nothing."""
    at_once: Collection[Verdict] = ()
    """A failure with one of these verdicts is not seen again before it counts."""
    enough: int | None = None
    """Confirmed failures after which the others are not looked at again."""


_WHOLE = Ending()


def run_suite(
    suite: Suite,
    images: ImageSet,
    to: Path,
    select: Path | None = None,
    targets: Sequence[str] = SYSTEM,
    stop_after: int = MANY,
    ends: Enough | None = None,
) -> SuiteResult:
    """Runs the suite, or some of its tests, once."""
    run = suite.run(images, to, targets=targets, select=select, stop_after=stop_after, enough=ends)
    return dataclasses.replace(run, cases=tuple(map(_judged, run.cases)))


def run_settled(
    suite: Suite,
    images: ImageSet,
    to: Path,
    note: Callable[[str], object],
    select: Path | None = None,
    targets: Sequence[str] = SYSTEM,
    ending: Ending = _WHOLE,
) -> SuiteResult:
    """Runs the suite, once more where that is lost, and each failing test again until it is known
    what it says, see `harness.testrun.settle`; `note` is called with a line on it.

    A run that was ended early goes on with the others where none of its failures is the system's
    fault after all, or all are excused. Raises `HarnessError` where that happens too often.
    """

    def lost_once(why: str) -> None:
        note(f"the suite was run again, after {why}")

    def nothing_left(run: SuiteResult) -> str:
        return "" if run.status == FAILED and run.cases else lost(run)

    def one(select: Path | None, to: Path) -> SuiteResult:
        first = retried(
            lambda: run_suite(
                suite, images, to, select, targets, ending.stop_after, ending.ends and ending.ends()
            ),
            lost_once,
            nothing_left,
        )
        rounds = itertools.count(1)

        def again(tests: Sequence[str]) -> SuiteResult:
            place = to.with_name(f"{to.name}-again-{next(rounds)}")
            return run_suite(suite, images, place, targets=tests, stop_after=ending.enough or MANY)

        run = settled(first, again, ending.at_once, ending.enough)
        changed = [case for case in first.failures if run.by_test[case.test] != case]
        if changed:
            names = ", ".join(short_name(case.test) for case in changed[:5])
            note(f"{to.name}: {len(changed)} failing tests were run again and differ now: {names}")
        return run

    run = one(select, to)
    for number in range(2, MOST_PARTS + 1):
        if _tells(run, ending.excused):
            break
        note(f"{to.name}: what ended the run is not its fault: the other tests are run")
        rest = to.with_name(f"{to.name}-rest.txt")
        wanted = select.read_text() if select is not None else ""
        write_text(rest, wanted + "".join(f"\n{LEFT_OUT}{case.test}" for case in run.cases))
        run = joined(run, one(rest, to.with_name(f"{to.name}-part-{number}")))
    if not _tells(run, ending.excused):
        raise HarnessError(f"the tests ended early {MOST_PARTS} times, by no fault of the system's")
    return run


def _tells(run: SuiteResult, excused: Collection[str]) -> bool:
    """Whether all tests had their turn, or one failed by the system's fault and is not excused."""
    return not run.cut or any(
        case.system_at_fault and case.test not in excused for case in run.cases
    )


def _judged(case: CaseResult) -> CaseResult:
    """A known failure that does not fail any more has passed; pytest calls that a failure."""
    if case.failed and STRICT in case.message:
        return dataclasses.replace(case, outcome="passed", verdict="")
    return case
