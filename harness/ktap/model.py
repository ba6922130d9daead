# SPDX-License-Identifier: MIT
"""What KTAP says, as values."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from harness.errors import HarnessError, Verdict

MISSING = "(missing)"
"""Name of the test that stands for those which were planned and gave no result."""
UNPLANNED = "(not planned)"
"""Name of the test that stands for more results than were planned."""
BAIL_OUT = "Bail out!"
"""Name of the test that stands for a program that gave up."""
TOTALS = "(totals)"
"""Name of the test that stands for a program's own count that its results contradict."""


class NoKtap(HarnessError):
    """The text has no KTAP in it."""

    verdict = Verdict.PRODUCT


class KtapOutcome(enum.Enum):
    """What became of a test."""

    PASS = "passed"
    FAIL = "failed"
    SKIP = "skipped"
    XFAIL = "failed, as expected"
    TIMEOUT = "timed out"
    ERROR = "could not be run"
    MISSING = "gave no result"
    """It was planned or had begun."""

    @property
    def failed(self) -> bool:
        """Whether it must not be passed over."""
        return self not in (KtapOutcome.PASS, KtapOutcome.SKIP, KtapOutcome.XFAIL)


@dataclasses.dataclass(frozen=True)
class KtapTest:
    """One test, and the tests within it."""

    name: str
    """Its description; ``test N`` where it has none."""
    outcome: KtapOutcome
    number: int | None = None
    directive: str = ""
    """``SKIP``, ``TIMEOUT`` …, in capitals."""
    reason: str = ""
    """What follows the directive, or the ``#``."""
    diagnostics: tuple[str, ...] = ()
    """The lines before its result that are no results, without indentation and ``# ``."""
    children: tuple[KtapTest, ...] = ()
    problems: tuple[str, ...] = ()
    """Where the text contradicts itself."""

    @property
    def of_its_own(self) -> bool:
        """Whether it fails for a reason that none of its children shows."""
        if not self.outcome.failed:
            return False
        if not any(child.outcome.failed for child in self.children):
            return True
        if self.outcome is KtapOutcome.MISSING:
            return False  # it ended in the middle of a child
        return bool(self.problems) or self.outcome in (KtapOutcome.TIMEOUT, KtapOutcome.ERROR)


@dataclasses.dataclass(frozen=True)
class Case:
    """A test to report: one without children, or one that fails `of_its_own`."""

    path: tuple[str, ...]
    test: KtapTest

    def __str__(self) -> str:
        return " > ".join(self.path)


@dataclasses.dataclass(frozen=True)
class KtapReport:
    """All tests of a text; of several documents, one after the other."""

    tests: tuple[KtapTest, ...]
    diagnostics: tuple[str, ...] = ()
    """The lines after the last result."""
    problems: tuple[str, ...] = ()

    def cases(self) -> Iterator[Case]:
        """The tests to report, in the order of the text."""

        def walk(tests: tuple[KtapTest, ...], path: tuple[str, ...]) -> Iterator[Case]:
            for test in tests:
                yield from walk(test.children, (*path, test.name))
                if not test.children or test.of_its_own:
                    yield Case((*path, test.name), test)

        return walk(self.tests, ())
