# SPDX-License-Identifier: MIT
"""Boots in place of clones: how many there were, why, and what they cost."""

from __future__ import annotations

import dataclasses

import pytest

from harness.plaintext import clean

ATTRIBUTE = "booted_instead"
"""Of a report: the seconds and the reason of each boot that took a clone's place."""
HOPELESS = 3
"""After so many failures, with no clone that ever started, none is tried any more: each try makes
a template twice.
"""


@dataclasses.dataclass
class Clones:
    """The clones of one run, or of one worker of it."""

    started: int = 0
    failures: int = 0
    why: str = ""
    """Of the last failure."""
    instead: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    """Boots that no report has told yet."""

    @property
    def hopeless(self) -> bool:
        """Whether no clone starts here, as it seems."""
        return self.started == 0 and self.failures >= HOPELESS

    def failed(self, why: str) -> None:
        """One did not start."""
        self.failures += 1
        self.why = why


def note(clones: Clones, report: pytest.TestReport) -> None:
    """Hands the boots on, with the report of a test's phase; from a worker of xdist too."""
    if clones.instead:
        setattr(report, ATTRIBUTE, [list(one) for one in clones.instead])
        clones.instead.clear()


def summary(terminal: pytest.TerminalReporter) -> None:
    """One line for all of them."""
    reports = [report for found in terminal.stats.values() for report in found]
    boots = [one for report in reports for one in getattr(report, ATTRIBUTE, ())]
    if not boots:
        return
    seconds = sum(one[0] for one in boots)
    whys = sorted({clean(one[1]).partition("\n")[0] for one in boots})
    more = f" (and {len(whys) - 1} other reasons)" if len(whys) > 1 else ""
    terminal.section("clones did NOT start", yellow=True)
    terminal.line(
        f"{len(boots)} machines were booted in place of clones, which took {seconds:.0f} s:"
        f" {whys[0]}{more}; --qemu-strict makes that an error"
    )
