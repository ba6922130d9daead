# SPDX-License-Identifier: MIT
"""What a gate tells while it is at work, for a terminal or a watcher.

``Gate(options, cache, progress, watch)`` calls `watch` with each event when it happens, from the
thread that judges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from harness.gate.result import Stage
from harness.gate.selection import Selection
from harness.testrun.result import CaseResult


@dataclasses.dataclass(frozen=True)
class StageBegun:
    """A step begins: ``build``, ``boot``, ``suite`` …"""

    name: str


@dataclasses.dataclass(frozen=True)
class StageDone:
    """It has ended, well or not."""

    stage: Stage


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The tests that will judge the patch."""

    selection: Selection


@dataclasses.dataclass(frozen=True)
class CaseDone:
    """A test has ended, in this or another run of it; a failure is not confirmed yet."""

    case: CaseResult


Event = StageBegun | StageDone | Chosen | CaseDone
Watch = Callable[[Event], None]


def nobody(event: Event) -> None:
    """A `Watch` that tells nobody."""
