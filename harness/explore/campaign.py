# SPDX-License-Identifier: MIT
"""Makes sequences, and shrinks the one on which a guest differs from the model, by Hypothesis.

The machine's rules only note operations; all of them are run at its end, in one exchange. What
Hypothesis shrinks is therefore a sequence, each try on a guest of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from harness.errors import HarnessError, Verdict
from harness.explore.model import OPERATIONS, Operation

STEPS = 40
"""Operations of one sequence, at most."""
HOME = "hypothesis"
"""Beside the database: what Hypothesis knows of our own code."""
_BATCH = 50
"""Sequences between two looks at the clock."""
_NUMBERS: dict[str, st.SearchStrategy[int]] = {
    "application": st.integers(0, 2),
    "owner": st.integers(0, 2),
    "area": st.integers(0, 1),
    "region": st.integers(0, 5),
    "kind": st.integers(0, 1),
    "skipped": st.integers(0, 8),
    # Mostly small; whole areas and what is just beside a power of two now and then.
    "pages": st.one_of(
        st.integers(1, 16),
        st.integers(0, 300),
        st.sampled_from([255, 256, 257, 511, 512, 513, 1024, 1025, 2047, 2048]),
    ),
}
_WEIGHTS = {
    "alloc": 10,
    "release": 8,
    "fill": 4,
    "check": 4,
    "look": 4,
    "debug_alloc": 4,
    # It costs a tenth of a second; the others of its kind are nothing without it.
    "pressure": 1,
}
"""How often an operation is offered; others twice."""

_SHORTEN_SECONDS = 240.0
"""For what Hypothesis, which stops after five minutes, has left to be taken out."""
_NO_SHRINKING = (hypothesis.Phase.reuse, hypothesis.Phase.generate)

Run = Callable[[Sequence[Operation]], None]
"""Runs a sequence on a pristine guest; raises where it differs from the model."""


class HostTrouble(BaseException):
    """Infrastructure: not to be taken for a difference, nor to be shrunk."""

    def __init__(self, error: HarnessError) -> None:
        super().__init__(str(error))
        self.error = error


def machine_of(
    run: Run, failed: list[tuple[tuple[Operation, ...], HarnessError]]
) -> type[RuleBasedStateMachine]:
    """The state machine whose sequences `run` runs; `failed` gets the newest one that failed, and
    how.
    """

    def teardown(self: Any) -> None:
        operations = tuple(self.operations)
        try:
            run(operations)
        except HarnessError as error:
            failed[:] = [(operations, error)]
            if error.verdict is Verdict.INFRASTRUCTURE:
                raise HostTrouble(error) from error
            raise

    def begin(self: Any) -> None:
        RuleBasedStateMachine.__init__(self)
        self.operations = []

    rules = {
        f"{name}_{number}": _rule(name, arguments)
        for name, arguments in OPERATIONS.items()
        for number in range(_WEIGHTS.get(name, 2))
    }
    return type(
        "Sequences", (RuleBasedStateMachine,), {"__init__": begin, "teardown": teardown, **rules}
    )


def _rule(name: str, arguments: tuple[str, ...]) -> Any:
    def note(self: Any, **numbers: int) -> None:
        self.operations.append(Operation(name, tuple(numbers[a] for a in arguments)))

    note.__name__ = name
    made: Any = rule  # its overloads know no computed arguments
    return made(**{argument: _NUMBERS[argument] for argument in arguments})(note)


def explore(
    run: Run,
    seconds: float,
    seed: int,
    database: Path | None = None,
    examples: int = _BATCH,
    steps: int = STEPS,
    shorten: float | None = None,
) -> tuple[tuple[Operation, ...], HarnessError] | None:
    """Runs sequences for so many seconds; the shortest one on which a guest differed, and how; None
    where none did. What `database` (a directory) has from other runs is tried first. `shorten` are
    the seconds to shorten it where Hypothesis is not to shrink it first, which takes minutes.

    Raises `HarnessError` where the host is at fault.
    """
    if database is not None:
        # Else what it keeps besides lies where the user is.
        set_hypothesis_home_dir(database.parent / HOME)
    failed: list[tuple[tuple[Operation, ...], HarnessError]] = []
    end = time.monotonic() + seconds
    batch = 0
    while batch == 0 or time.monotonic() < end:
        settings = hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=DirectoryBasedExampleDatabase(database) if database else None,
            suppress_health_check=list(hypothesis.HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=hypothesis.Verbosity.quiet,
            phases=tuple(hypothesis.Phase) if shorten is None else _NO_SHRINKING,
        )
        seeded = hypothesis.seed(seed + batch)(machine_of(run, failed))
        try:
            run_state_machine_as_test(seeded, settings=settings)
        except HostTrouble as trouble:
            raise trouble.error from None
        except (HarnessError, hypothesis.errors.Flaky):
            # Hypothesis ends with a run of the smallest sequence that still fails; one that failed
            # and then did not is told as it failed.
            sequence, error = failed[0]
            if error.verdict is Verdict.INFRASTRUCTURE:
                raise error from None
            return minimised(run, sequence, error, _SHORTEN_SECONDS if shorten is None else shorten)
        batch += 1
    return None


def minimised(
    run: Run,
    operations: Sequence[Operation],
    error: HarnessError,
    seconds: float = _SHORTEN_SECONDS,
) -> tuple[tuple[Operation, ...], HarnessError]:
    """A sequence without what can be taken out of it, in runs of operations and one by one, and how
    a guest differs on that; `error` is how it does on `operations`.
    """
    best, end = list(operations), time.monotonic() + seconds
    size = max(len(best) // 2, 1)
    while size:
        at, before = 0, len(best)
        while at < len(best) and time.monotonic() < end:
            shorter = best[:at] + best[at + size :]
            found = _difference(run, shorter) if shorter else None
            if found is None:
                at += size
            else:
                best, error = shorter, found
        # What was needed before may not be now.
        size = size // 2 if size > 1 or len(best) == before else 1
        if time.monotonic() >= end:
            break
    return tuple(best), error


def _difference(run: Run, operations: Sequence[Operation]) -> HarnessError | None:
    try:
        run(operations)
    except HarnessError as error:
        return None if error.verdict is Verdict.INFRASTRUCTURE else error
    return None
