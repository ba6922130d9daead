# SPDX-License-Identifier: MIT
"""What the suite gives on the unpatched system: run once, kept in the cache, compared with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.board import QEMU
from harness.gate.result import Change, TestChange
from harness.host.process import capture
from harness.host.project import ROOT
from harness.imageset.model import ImageSet
from harness.testrun.result import CaseResult, SuiteResult
from harness.testrun.suite import SYSTEM, Suite

_STRICT = "[XPASS(strict)]"
"""How pytest says that a test passed which was known to fail."""


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
    stop_after: int = 10,
) -> SuiteResult:
    """Runs the suite, or some of its tests."""
    run = suite.run(images, to, targets=targets, select=select, stop_after=stop_after)
    return dataclasses.replace(run, cases=tuple(map(_judged, run.cases)))


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
        where they were kept. They are kept unless the run itself went wrong.
        """
        words = f"{images.digest()} {suite_digest(select)}"
        path = self._directory / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"
        if path.exists():
            return {case["test"]: CaseResult(**case) for case in json.loads(path.read_text())}, 0.0
        self._say("the base has no stored result for this suite: running it there first")
        run = run_suite(suite, images, to, select, stop_after=10_000)
        if not run.infrastructure:
            new = path.with_suffix(".new")
            new.write_text(json.dumps([dataclasses.asdict(case) for case in run.cases]))
            new.replace(path)
        return run.by_test, run.seconds


def compare(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], whole: bool
) -> tuple[TestChange, ...]:
    """The tests whose result differs, or is bad. `whole`: the run after was not cut short."""
    changes = []
    for name, case in after.items():
        old = before.get(name)
        change: Change | None = None
        if case.failed:
            known = old is not None and old.outcome in ("failed", "xfailed")
            change = Change.STILL_FAILS if known else Change.NEWLY_FAILS
        elif case.outcome == "xfailed":
            change = Change.STILL_FAILS
        elif case.outcome == "passed" and old is not None and old.outcome in ("failed", "xfailed"):
            change = Change.NEWLY_PASSES
        elif old is None:
            change = Change.NEW
        if change is not None:
            changes.append(TestChange(case, change))
    if whole:
        lost = [name for name in before if name not in after or _skipped_now(before, after, name)]
        changes += [TestChange(before[name], Change.GONE) for name in lost]
    return tuple(changes)


def _skipped_now(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], name: str
) -> bool:
    return after[name].outcome == "skipped" and before[name].outcome != "skipped"
