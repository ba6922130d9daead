# SPDX-License-Identifier: MIT
"""One job of the night, and what can come of it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping


class JobKind(enum.Enum):
    """What a job does."""

    TESTS = "tests"
    MEASURE = "measure"
    MUTANTS = "mutants"
    EXPLORE = "explore"


class JobStatus(enum.Enum):
    """What came of a job, or of one attempt at it."""

    NOT_RUN = "not run"
    """The night was ended before it."""
    PASSED = "passed"
    FAILED = "failed"
    """The system under test is at fault, or a mutant was not noticed."""
    EMPTY = "no test"
    """Its expression selects no test, or all are skipped."""
    INFRASTRUCTURE = "infrastructure"
    """The harness, QEMU or the host failed, twice."""


GROUPS: Mapping[str, tuple[str, ...]] = {
    "layouts": ("tests/cma/test_layouts.py",),
    "cma": ("tests/cma", "--ignore=tests/cma/test_layouts.py"),
    "harness": ("tests/qemu",),
}
"""Groups of tests, as pytest's arguments: every layout, the other tests of the system, the
harness's own."""
OF_A_CHECKOUT = frozenset({"harness"})
"""Groups whose tests an installed package has not: they make no job there."""
OWN_MEMORY = frozenset({"layouts"})
"""Groups whose tests say their RAM themselves."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One process's work. Equal names in two nights are the same job."""

    name: str
    """``6.1/512M/cma``; stable, and a relative path."""
    kind: JobKind
    kernel: str
    """``6.1``."""
    timeout: float
    """Seconds; afterwards it is ended, as infrastructure."""
    memory_mib: int | None = None
    """RAM of the machines; None: as the tests say, or the default."""
    group: str = ""
    """Of `GROUPS`, for tests."""
    expression: str = ""
    """pytest's ``-k``."""
    only: tuple[str, ...] = ()
    """Mutants: patterns of names; empty for all."""
    sample: int | None = None
    """Mutants: as many at random; None for all."""
    part: tuple[int, int] = (1, 1)
    """Mutants: the i-th of n parts."""
    variant: str = ""
    """Tests: of the kernel, which then checks itself (``images/kernel/variants``)."""
    minutes: int = 0
    """Exploration: for so long."""

    @property
    def alone(self) -> bool:
        """Whether nothing may run beside it: a loaded host falsifies a measurement."""
        return self.kind is JobKind.MEASURE

    @property
    def claims(self) -> str:
        """What only one job at a time can have; empty for nothing.

        There is one built tree to patch for each kernel.
        """
        return f"patch_tree {self.kernel}" if self.kind is JobKind.MUTANTS else ""


def exit_status(statuses: Iterable[JobStatus]) -> int:
    """Of the night: 1 the product is at fault, else 2 a job has no test, else 3 infrastructure."""
    found = set(statuses)
    if JobStatus.FAILED in found:
        return 1
    if JobStatus.EMPTY in found:
        return 2
    return 3 if found & {JobStatus.INFRASTRUCTURE, JobStatus.NOT_RUN} else 0
