# SPDX-License-Identifier: MIT
"""The suite's results on the unpatched system: run once, kept in the cache, compared with later."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from harness.board import QEMU
from harness.errors import HarnessError, Verdict
from harness.gate.findings import short_name
from harness.gate.result import ResultChange, TestChange
from harness.host.files import write_text
from harness.host.process import capture
from harness.host.project import ROOT
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.testrun.result import FAILED, CaseResult, SuiteResult, lost
from harness.testrun.settle import settled
from harness.testrun.suite import SYSTEM, Suite

MANY = 10_000
"""More failing tests than there are: a run that is not ended early."""
_STRICT = "[XPASS(strict)]"
"""How pytest reports a test that passed though it was marked as failing."""


def suite_digest(select: Path | None) -> str:
    """Changes with the tests, the harness, QEMU, and what is selected."""
    digest = hashlib.sha256(select.read_bytes() if select else b"")
    digest.update(capture([QEMU, "--version"])[1])
    for directory in ("harness", "tests"):
        for path in sorted((ROOT / directory).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def run_suite(
    suite: Suite,
    images: ImageSet,
    to: Path,
    select: Path | None = None,
    targets: Sequence[str] = SYSTEM,
    stop_after: int = MANY,
) -> SuiteResult:
    """Runs the suite, or some of its tests, once."""
    run = suite.run(images, to, targets=targets, select=select, stop_after=stop_after)
    return dataclasses.replace(run, cases=tuple(map(_judged, run.cases)))


def run_settled(
    suite: Suite,
    images: ImageSet,
    to: Path,
    note: Callable[[str], object],
    select: Path | None = None,
    targets: Sequence[str] = SYSTEM,
    stop_after: int = MANY,
    at_once: Collection[Verdict] = (),
    enough: int | None = None,
) -> SuiteResult:
    """Runs the suite, once more where that is lost, and each failing test again until it is known
    what it says, see `harness.testrun.settle`; `note` is called with a line on it.
    """

    def lost_once(why: str) -> None:
        note(f"the suite was run again, after {why}")

    def nothing_left(run: SuiteResult) -> str:
        return "" if run.status == FAILED and run.cases else lost(run)

    first = retried(
        lambda: run_suite(suite, images, to, select, targets, stop_after), lost_once, nothing_left
    )
    rounds = itertools.count(1)

    def again(tests: Sequence[str]) -> SuiteResult:
        place = to.with_name(f"{to.name}-again-{next(rounds)}")
        return run_suite(suite, images, place, targets=tests, stop_after=enough or MANY)

    run = settled(first, again, at_once, enough)
    changed = [case for case in first.failures if run.by_test[case.test] != case]
    if changed:
        names = ", ".join(short_name(case.test) for case in changed[:5])
        note(f"{to.name}: {len(changed)} failing tests were run again and differ now: {names}")
    return run


def _judged(case: CaseResult) -> CaseResult:
    """A known failure that does not fail any more has passed; pytest calls that a failure."""
    if case.failed and _STRICT in case.message:
        return dataclasses.replace(case, outcome="passed", verdict="")
    return case


class Baselines:
    """The stored results, a file for each system and suite."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say

    def of(
        self, suite: Suite, images: ImageSet, select: Path | None, to: Path
    ) -> tuple[Mapping[str, CaseResult], float]:
        """Each test's result on the unpatched system, and the seconds that it took to get them: 0
        where they were kept.

        A failure is among them only where it came twice, and none that infrastructure made: of
        those tests nothing is known. Only a run of which all is known is kept. Raises
        `HarnessError` where the run says nothing at all.
        """
        words = f"{images.digest()} {suite_digest(select)}"
        path = self._directory / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"
        kept = _read(path)
        if kept is not None:
            return kept, 0.0
        self._say("the base has no stored result for this suite: running it there first")
        run = run_settled(suite, images, to, self._say, select)
        if run.infrastructure and not run.tests:
            raise HarnessError(
                f"the suite did not run on the base (pytest's exit status {run.status});"
                f" see {run.log}"
            )
        known = {case.test: case for case in run.cases if case.known}
        if len(known) == len(run.cases) and not run.infrastructure:
            values = [{**dataclasses.asdict(case), "artifact": None} for case in run.cases]
            with contextlib.suppress(OSError):  # it is only slower next time
                write_text(path, json.dumps(values))
        return known, run.seconds


def _read(path: Path) -> Mapping[str, CaseResult] | None:
    """What is stored; None where it is not there, or damaged."""
    try:
        values = json.loads(path.read_text())
        cases = [CaseResult(**value) for value in values]
    except (OSError, ValueError, TypeError):
        return None
    return {case.test: case for case in cases} or None


def compare(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], whole: bool
) -> tuple[TestChange, ...]:
    """The tests whose result differs, or is bad. `whole`: the run after was not cut short."""
    changes = []
    for name, case in after.items():
        old = before.get(name)
        change: ResultChange | None = None
        if case.failed:
            known = old is not None and old.outcome in ("failed", "xfailed")
            change = ResultChange.STILL_FAILS if known else ResultChange.NEWLY_FAILS
        elif case.outcome == "xfailed":
            change = ResultChange.STILL_FAILS
        elif case.outcome == "passed" and old is not None and old.outcome in ("failed", "xfailed"):
            change = ResultChange.NEWLY_PASSES
        elif old is None:
            change = ResultChange.NEW
        if change is not None:
            changes.append(TestChange(case, change))
    if whole:
        lost = [name for name in before if name not in after or _skipped_now(before, after, name)]
        changes += [TestChange(before[name], ResultChange.GONE) for name in lost]
    return tuple(changes)


def _skipped_now(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], name: str
) -> bool:
    return after[name].outcome == "skipped" and before[name].outcome != "skipped"
