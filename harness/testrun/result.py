# SPDX-License-Identifier: MIT
"""What came of tests: one test's result, and one run's."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.errors import Verdict

Outcome = Literal["passed", "failed", "skipped", "xfailed"]
"""``xfailed``: a known failure, as the test's mark says."""

PASSED, FAILED, NOTHING = 0, 1, 5
"""pytest's exit statuses that say something about the system."""
INTERRUPTED = 2
USAGE = 4
STRICT = "[XPASS(strict)]"
"""How pytest reports a test that passed though it was marked as failing."""
_SYSTEM = {Verdict.PRODUCT.value, Verdict.CRASH.value, Verdict.TIMEOUT.value}


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """One test of a run."""

    test: str
    """As pytest takes it on its command line: ``tests/cma/test_x.py::TestY::test_z[p]``."""
    outcome: Outcome
    verdict: str = ""
    """A value of `harness.errors.Verdict`; empty unless it failed."""
    message: str = ""
    """Why it failed, or was skipped."""
    seconds: float = 0.0
    artifact: Path | None = None
    """Its transcript, or the directory of its transcripts, where they were kept."""
    command: str = ""
    """How QEMU was started for it, as a shell line; empty where it had no machine."""
    line: str = ""
    """Where in its source it failed: ``tests/cma/test_app.py:57: assert before == after``."""

    @property
    def failed(self) -> bool:
        """Whether it did not pass, through whose fault ever."""
        return self.outcome == "failed"

    @property
    def ran(self) -> bool:
        """Whether it was run, to whatever end."""
        return self.outcome != "skipped"

    @property
    def known(self) -> bool:
        """Whether it says something of the system: infrastructure does not."""
        return not self.failed or self.system_at_fault

    @property
    def system_at_fault(self) -> bool:
        """Whether it failed through the system under test."""
        return self.failed and self.verdict in _SYSTEM


@dataclasses.dataclass(frozen=True)
class SuiteResult:
    """One run of tests."""

    status: int
    """pytest's exit status; negative: the signal that ended it."""
    cases: tuple[CaseResult, ...]
    """Every test of which the run left a result, each once."""
    seconds: float
    log: Path
    cut: bool = False
    """Whether it was ended before all tests had their turn."""

    @functools.cached_property
    def by_test(self) -> Mapping[str, CaseResult]:
        """The results by the tests' names."""
        return {case.test: case for case in self.cases}

    @property
    def tests(self) -> int:
        """How many passed or failed."""
        return sum(case.outcome in ("passed", "failed") for case in self.cases)

    @property
    def busy(self) -> float:
        """Seconds that the tests took, one after the other."""
        return sum(case.seconds for case in self.cases)

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The tests that did not pass."""
        return tuple(case for case in self.cases if case.failed)

    @property
    def caught(self) -> CaseResult | None:
        """The first test that failed through the system's fault; None if none did."""
        if self.status != FAILED:
            return None
        return next((case for case in self.cases if case.system_at_fault), None)

    @property
    def passed(self) -> bool:
        """All tests passed, and there were some."""
        return self.status == PASSED and self.tests > 0 and not self.failures

    @property
    def infrastructure(self) -> bool:
        """Nothing is known of the system: no test failed by its fault, and they did not pass."""
        return self.caught is None and self.status not in (PASSED, NOTHING)


def joined(one: SuiteResult, other: SuiteResult) -> SuiteResult:
    """Two runs of different tests as one; it was cut short where the other was."""
    status = one.status if other.status in (PASSED, NOTHING) else other.status
    cases = (*one.cases, *other.cases)
    return SuiteResult(status, cases, one.seconds + other.seconds, other.log, other.cut)


def stop_file(results: Path) -> Path:
    """Beside a file of results that grows: once it is there, no further test begins."""
    return results.with_name(f"{results.name}.stop")


def lost(run: SuiteResult) -> str:
    """Why a run says nothing of the system, for `harness.host.retry.retried`; empty if it does."""
    if not run.infrastructure:
        return ""
    return f"an infrastructure failure (pytest's exit status {run.status})"
