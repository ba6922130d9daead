# SPDX-License-Identifier: MIT
"""How patches are judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.builders.kept_trees import Base
from harness.builders.watch import Limits

BOOT_TIMEOUT = 30.0
"""Seconds for a patched kernel to answer; the base's, in the same run, needs some three."""
MOST_FAILURES = 4
"""Failing tests after which the suite is ended: more add nothing."""
CANARIES = 3
"""Failing tests that are looked at on the base too, where the first one says nothing."""
DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Options:
    """How to judge."""

    output: Path
    """A directory for everything that is kept; it is emptied first."""
    base: Base = None
    config: tuple[Path, ...] = ()
    """Fragments on top of our kernel configuration, for the base and the patched kernel."""
    select: Path | None = None
    """The tests to run, a file for ``--qemu-select``; None: those that execute what is changed."""
    whole: bool = False
    """Run all tests."""
    tests: tuple[str, ...] = ()
    """The tests to run, in place of all these."""
    baselines: Path | None = None
    """What another machine knows of the base (`harness.gate.warm`)."""
    command: str = ""
    """How this judgement was asked for, as a shell takes it, without the choice of tests."""
    workers: int = 2
    boot_limit: float = 1.25
    """Boot time, patched/base, above which it is a regression."""
    latency_limit: float = 1.5
    limits: Limits = DEFAULT_LIMITS
    require_coverage: bool = False
    """Reject patches of which no test and no boot executes a changed line of code."""
