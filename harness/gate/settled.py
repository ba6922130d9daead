# SPDX-License-Identifier: MIT
"""Runs of the suite until it is known what they say of the system."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from harness.errors import HarnessError, Verdict
from harness.gate.findings import short_name
from harness.host.files import write_text
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.pytest_plugin.selection import LEFT_OUT
from harness.testrun.result import FAILED, STRICT, CaseResult, SuiteResult, joined, lost
from harness.testrun.settle import settled
from harness.testrun.suite import SYSTEM, Enough, Suite

MANY_MORE = 20
"""Failing tests after which even a run that is gone on with is ended."""
MANY = 10_000
"""More failing tests than there are: a run that is not ended early."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """When a run has said enough."""

    stop_after: int = MANY
    """Failing tests after which the others are left out."""
    ends: Callable[[Callable[[CaseResult], object]], Enough] | None = None
    """Gives what is asked with each result whether the others may be left out; it calls what it is
    given with the first failure that counts.
    """
    excused: Collection[str] = ()
    """Tests whose failure says nothing."""
    at_once: Collection[Verdict] = ()
    """A failure with one of these verdicts is not seen again before it counts."""
    enough: int | None = None
    """Confirmed failures after which the others are not looked at again."""
    alike: Callable[[CaseResult, CaseResult], bool] = lambda one, other: False
    """Whether two failures have one cause: of such one is seen again."""


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

    A run that was ended early goes on with all others where none of its failures is the system's
    fault after all, or all are excused. Raises `HarnessError` where these end early so too.
    """

    def lost_once(why: str) -> None:
        note(f"the suite was run again, after {why}")

    def nothing_left(run: SuiteResult) -> str:
        return "" if run.status == FAILED and run.cases else lost(run)

    def one(select: Path | None, to: Path, whole: bool = False) -> SuiteResult:
        rounds = itertools.count(1)

        def again(tests: Sequence[str], suite: Suite) -> SuiteResult:
            place = to.with_name(f"{to.name}-again-{next(rounds)}")
            return run_suite(suite, images, place, targets=tests, stop_after=ending.enough or MANY)

        with suite.together() as another, _Meanwhile(again, another) as meanwhile:

            def begin(case: CaseResult) -> None:
                if Verdict(case.verdict) not in ending.at_once:
                    meanwhile.ask(case.test)

            def run_first() -> SuiteResult:
                enough = None if whole or ending.ends is None else ending.ends(begin)
                most = MANY_MORE + len(ending.excused) if whole else ending.stop_after
                return run_suite(another(), images, to, select, targets, most, enough)

            first = retried(run_first, lost_once, nothing_left)
            run = settled(
                first,
                meanwhile.again,
                ending.at_once,
                ending.enough,
                ending.excused,
                ending.alike,
            )
        changed = [case for case in first.failures if run.by_test[case.test] != case]
        if changed:
            names = ", ".join(short_name(case.test) for case in changed[:5])
            note(f"{to.name}: {len(changed)} failing tests were run again and differ now: {names}")
        return run

    run = one(select, to)
    if not _tells(run, ending.excused):
        note(f"{to.name}: what ended the run is not its fault: the other tests are run")
        rest = to.with_name(f"{to.name}-rest.txt")
        wanted = select.read_text() if select is not None else ""
        write_text(rest, wanted + "".join(f"\n{LEFT_OUT}{case.test}" for case in run.cases))
        run = joined(run, one(rest, to.with_name(f"{to.name}-part-2"), whole=True))
    if not _tells(run, ending.excused):
        raise HarnessError("the tests ended early twice, by no fault of the system's")
    return run


class _Meanwhile:
    """Runs failing tests again; one of them while the run that it failed in still goes on."""

    def __init__(
        self, again: Callable[[Sequence[str], Suite], SuiteResult], another: Callable[[], Suite]
    ) -> None:
        self._again = again
        self._another = another
        self._pool = ThreadPoolExecutor(1)
        self._suite = another()
        self._early: Future[SuiteResult] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self._early is not None:
            self._suite.end()  # nobody asks for it any more
        self._pool.shutdown(cancel_futures=True)

    def ask(self, test: str) -> None:
        """Begins to run a test again."""
        if self._early is None:
            self._early = self._pool.submit(self._again, [test], self._suite)

    def again(self, tests: Sequence[str]) -> SuiteResult:
        """Runs tests again; first of all what was begun, where it is one of them."""
        early, self._early = self._early, None
        if early is not None:
            run = early.result()
            if any(case.test in tests and case.known for case in run.cases):
                return run
        return self._again(tests, self._suite)


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
