# SPDX-License-Identifier: MIT
"""What a gate run found, as plain values: the reports are made of this and nothing else."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

from harness.coverage.changed import ChangedLine
from harness.memory.ranges import AddressRange
from harness.testrun.result import CaseResult


class Decision(enum.Enum):
    """What becomes of a patch."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """It does not build, brings a new warning, a crash, a failing test or a regression."""
    NOT_JUDGED = "not judged"
    """The input cannot be judged: it does not apply, is empty, or changes nothing that is built."""
    INFRASTRUCTURE = "infrastructure"
    """The harness, QEMU or the host failed, twice; nothing is known of the patch."""

    @property
    def exit_status(self) -> int:
        """0 accepted, 1 rejected, 2 not judged, 3 infrastructure."""
        return list(Decision).index(self)


class FindingKind(enum.Enum):
    """What a finding is about."""

    INPUT = "the input cannot be used"
    APPLY = "does not apply"
    SCOPE = "changes nothing that is built"
    BUILD = "does not build"
    CONTAINED = "contained"
    """The build tried what the sandbox forbids, or hit one of its limits."""
    COMPILER_WARNING = "new compiler warning"
    KERNEL_WARNING = "new kernel warning"
    BOOT = "wrong at the first boot"
    """It boots, and what it says of its memory is wrong or contradictory."""
    TEST = "test newly fails"
    CRASH = "kernel crash"
    TIMEOUT = "no answer"
    REGRESSION = "regression"
    COVERAGE = "changed lines that nothing executes"
    INFRASTRUCTURE = "infrastructure"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One reason for a decision other than acceptance."""

    kind: FindingKind
    title: str
    """One line: ``mm/cma.c:431: error: …``, or a test's name."""
    detail: str = ""
    """Lines that explain it: a compiler's output, a test's explanation with its memory map."""
    artifact: Path | None = None
    """A log or a transcript, kept."""
    excerpt: str = ""
    """The last lines of a failing test's machine: console, kernel log, commands."""
    test: str = ""
    """The test that it is about, as `CaseResult.test` has it; empty for none."""
    line: str = ""
    """Where that failed: ``tests/cma/test_app.py:57: assert before == after``."""
    story: tuple[str, ...] = ()
    """What its guest was told and answered, in plain words, a line each."""
    alike: tuple[str, ...] = ()
    """Other tests that fail for the same cause."""
    again: str = ""
    """The command that runs this test again on these patches."""


@dataclasses.dataclass(frozen=True)
class InputPatch:
    """One patch of the input."""

    name: str
    """File name, mbox position or abbreviated commit."""
    subject: str
    author: str
    files: tuple[str, ...]
    """As in the tree: ``linux/mm/cma.c``, ``images/module/cma.c``."""
    digest: str = ""
    """SHA-256 of its diff, as hex."""


class ResultChange(enum.Enum):
    """How a test's result differs from the base's."""

    NEWLY_FAILS = "newly fails"
    NEWLY_PASSES = "newly passes"
    STILL_FAILS = "fails as before"
    """Known failures of the base included."""
    NEW = "new test"
    GONE = "no longer run"


@dataclasses.dataclass(frozen=True)
class TestChange:
    """A test whose result differs from the base's, or fails."""

    __test__ = False

    case: CaseResult
    """On the patched system; on the base, where it is no longer run."""
    change: ResultChange

    @property
    def test(self) -> str:
        """Its name."""
        return self.case.test

    @property
    def verdict(self) -> str:
        """``product``, ``crash``, ``timeout`` or ``infrastructure``; empty where it passes."""
        return self.case.verdict

    @property
    def message(self) -> str:
        """Why it failed, or was skipped."""
        return self.case.message


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One figure of the base and of the patched system, taken in the same run."""

    name: str
    """``boot``, ``kernel size``, ``latency: one page`` …"""
    unit: str
    """``ms``, ``us``, ``bytes``."""
    base: float
    patched: float
    limit: float | None = None
    """The ratio patched/base above which it is a regression; None where it never is."""

    @property
    def ratio(self) -> float:
        """patched/base; 1 where the base is 0."""
        return self.patched / self.base if self.base else 1.0

    @property
    def regressed(self) -> bool:
        """Whether it is above its limit."""
        return self.limit is not None and self.ratio > self.limit


@dataclasses.dataclass(frozen=True)
class Area:
    """A range of the memory map of a booted system; `span` is half-open."""

    name: str
    span: AddressRange
    cma: bool = True


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the run."""

    name: str
    """``apply``, ``build``, ``suite`` …"""
    seconds: float
    """Wall time."""
    own: float = 0.0
    """Wall time in which neither the compiler nor a guest ran."""


@dataclasses.dataclass(frozen=True)
class GateResult:
    """All of it."""

    decision: Decision
    reason: str
    """One line: why."""
    patches: tuple[InputPatch, ...]
    base: str
    """``Linux 6.1.192``, or the directory of the tree."""
    release: str = ""
    """``uname -r`` of the patched kernel."""
    findings: tuple[Finding, ...] = ()
    tests_run: int = 0
    tests_passed: int = 0
    tests_of: int = 0
    """How many the whole suite has; more than `tests_run` where a selection was run."""
    selection: str = ""
    """Which tests were chosen, and why: ``12 tests execute what it changes (cma_alloc); …``."""
    tests_judged: int = 0
    """How many have a result on both systems, of which something is known: what the decision
    stands on."""
    cases: tuple[CaseResult, ...] = ()
    """Every test's result on the patched system."""
    tests: tuple[TestChange, ...] = ()
    changed: tuple[ChangedLine, ...] = ()
    """The lines that the patches add, in the patched tree, and who executed them; empty where that
    is not known."""
    removed: tuple[ChangedLine, ...] = ()
    """The lines that they take out and put no code for, and who executed them on the base."""
    diff: str = ""
    """What the patches change in the tree, unified, with context."""
    warnings_gone: tuple[str, ...] = ()
    """Compiler and kernel warnings of the base that the patched system has no more."""
    measures: tuple[Measurement, ...] = ()
    map_before: tuple[Area, ...] = ()
    map_after: tuple[Area, ...] = ()
    """Empty where the patched system did not boot."""
    boot_before: tuple[tuple[float, str], ...] = ()
    """What the base's boot came to at how many seconds of the guest's clock
    (`harness.report.pictures.milestones`)."""
    boot_after: tuple[tuple[float, str], ...] = ()
    """The same of the patched system; empty where it did not boot."""
    transcript_diff: tuple[str, ...] = ()
    """Unified diff of the deterministic boot transcripts, base against patched."""
    notes: tuple[str, ...] = ()
    """What was tried again and why, what the canary said, what was not looked at."""
    stages: tuple[Stage, ...] = ()
    started: str = ""
    """ISO 8601, with zone."""
    artifacts: Path | None = None
