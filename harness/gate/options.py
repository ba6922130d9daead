# SPDX-License-Identifier: MIT
"""How patches are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness.builders.kernel_source import KernelSource
from harness.builders.watch import Limits
from harness.host.project import ROOT

QUICK = ROOT / "tests" / "quick.txt"
"""The tests that a gate runs without ``--whole``."""
QUICK_DRIVER = QUICK.with_name("quick-driver.txt")
BOOT_TIMEOUT = 30.0
"""Seconds for a patched kernel to answer; the base's, in the same run, needs some three."""
MOST_FAILURES = 10
"""Failing tests after which the suite is ended: more add nothing."""
CANARIES = 3
"""Failing tests that are looked at on the base too."""
DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Options:
    """How to judge."""

    output: Path
    """A directory for everything that is kept; it is emptied first."""
    base: str | Path | KernelSource | None = None
    select: Path | None = QUICK
    """The tests to run, a file for ``--qemu-select``; None: all. To `QUICK`, those of
    `QUICK_DRIVER` are added for a patch of the driver."""
    workers: int = 2
    boot_limit: float = 1.25
    """Boot time, patched/base, above which it is a regression."""
    latency_limit: float = 1.5
    limits: Limits = DEFAULT_LIMITS
    require_coverage: bool = False
    """Reject patches of which no test and no boot executes a changed line of code."""


def selection(options: Options, touched: Sequence[str]) -> Path | None:
    """The file of the tests for a patch that touches these files; None: all."""
    driver = any(path.startswith("images/module/") for path in touched)
    if options.select != QUICK or not driver:
        return options.select
    both = options.output / "select.txt"
    both.write_text(QUICK.read_text() + QUICK_DRIVER.read_text())
    return both
