# SPDX-License-Identifier: MIT
"""Failing tests on the base, here and now: the first one while the suite still runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from harness.gate.findings import short_name
from harness.gate.options import CANARIES
from harness.gate.settled import run_suite
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.testrun.result import CaseResult, SuiteResult, lost
from harness.testrun.suite import Suite


class Canary:
    """What the base says of failing tests. To be used in a ``with`` block, which waits for it."""

    def __init__(
        self,
        cache: Path,
        base: ImageSet,
        output: Path,
        note: Callable[[str], object],
        *,
        comes_again: bool = False,
    ) -> None:
        """`note` is called with lines on what was seen. `comes_again`: the base is one of many
        gates, so that its frozen machines stay in the cache.
        """
        self._cache = cache
        self._base = base
        self._comes_again = comes_again
        self._private = output / "cache-canary"
        self._place = output / "suite"
        self._note = note
        self._pool = ThreadPoolExecutor(1)
        self._runs: list[Future[SuiteResult]] = []
        self._suites: list[Suite] = []
        self._asked: set[str] = set()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._over = True
            for suite in self._suites:
                suite.end()
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._private, ignore_errors=True)

    def ask(self, *tests: str) -> None:
        """Begins to run some tests, where they were not asked yet."""
        new = [test for test in tests if test not in self._asked]
        if new:
            self._asked.update(new)
            self._runs.append(self._pool.submit(self._run, new, len(self._runs)))

    def _run(self, tests: Sequence[str], number: int) -> SuiteResult:
        place = self._place / (f"canary-{number}" if number else "canary")
        suite = Suite(self._cache, self._private, frozen_in_cache=self._comes_again)
        self._suites.append(suite)
        return retried(
            lambda: run_suite(suite, self._base, place, targets=tests),
            unknown=lambda run: "" if self._over else lost(run),
        )

    def results(self, tests: Sequence[str]) -> Mapping[str, CaseResult]:
        """What is known of failing tests, by their names, once that is so: of those that were
        asked for, and where none of these is among them, of the first few.
        """
        if not self._asked.intersection(tests):
            self.ask(*tests[:CANARIES])
        runs = [run.result() for run in self._runs]
        cases = [case for run in runs for case in run.cases if case.test in tests]
        passed = [short_name(case.test) for case in cases if case.outcome == "passed"]
        if passed:
            self._note(f"canary: the base passes {', '.join(passed)} here and now")
        known = {case.test: case for case in cases if case.known}
        if tests and not known:
            self._note(f"the canary could not be asked: {runs[-1].log}")
        return known
