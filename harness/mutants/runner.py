# SPDX-License-Identifier: MIT
"""Takes the mutants one by one: apply, build, test, restore, and say what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.builders.patch_tree import PatchError, PatchTree
from harness.errors import BuildError, HarnessError
from harness.gate.selection import Selection
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.mutants.patchfile import Mutant
from harness.mutants.selected import Chooser
from harness.pytest_plugin.selection import name_without_kernel
from harness.testrun.result import NOTHING, CaseResult, SuiteResult, lost
from harness.testrun.suite import SYSTEM, Suite


class MutantStatus(enum.Enum):
    """What came of a mutant."""

    CAUGHT = "caught"
    MISSED = "MISSED"
    """Caught by the whole suite, and not by the tests that a gate would choose."""
    BY_CHANCE = "caught by chance"
    """As that, by a test that was chosen too, and passed then: it is not the choice that missed."""
    ELSEWHERE = "caught elsewhere"
    """By a test that its ``Caught-by`` does not name."""
    SURVIVED = "SURVIVED"
    PASSED = "passed"
    """A harmless change that the suite took for harmless."""
    FALSE_ALARM = "FALSE ALARM"
    """A harmless change that turned a test red."""
    NO_TEST = "names no test"
    """``Caught-by`` selects none."""
    DOES_NOT_APPLY = "does not apply"
    DOES_NOT_BUILD = "does not build"
    OTHER_KERNEL = "other kernel"
    """It is for other kernels than this: not counted."""
    UNSTABLE = "unstable test"
    """A test that is not named was red, and then was not: nothing is known."""
    INFRASTRUCTURE = "infrastructure"
    """The run failed, twice, and not through the system under test: nothing is known."""


GOOD = {MutantStatus.CAUGHT, MutantStatus.ELSEWHERE, MutantStatus.PASSED, MutantStatus.OTHER_KERNEL}


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of one mutant."""

    mutant: Mutant
    status: MutantStatus
    build_seconds: float = 0.0
    test_seconds: float = 0.0
    test: str = ""
    """The test that turned red."""
    verdict: str = ""
    message: str = ""
    chosen: Selection | None = None
    """The tests that a gate would choose, where these were run."""


class NotGreen(HarnessError):
    """The suite fails on the system as it is, so that a red test would prove nothing."""


class Runner:
    """One run over many mutants."""

    def __init__(
        self,
        patch_tree: PatchTree,
        suite: Suite,
        kernel: str,
        artifacts: Path,
        say: Callable[[str], None],
        choose: Callable[[ImageSet], Chooser] | None = None,
    ) -> None:
        """`choose` gives, for the images without a mutant, what chooses the tests of each mutant;
        without it they are those that it names.
        """
        self._choose = choose
        self._chooser: Chooser | None = None
        self._patch_tree = patch_tree
        self._suite = suite
        self._kernel = kernel
        self._artifacts = artifacts
        self._say = say
        self._unchanged: ImageSet | None = None
        self._all_green = False

    def check_suite(self, mutants: Sequence[Mutant]) -> None:
        """Runs what will be run on the mutants on the system without any. Raises `NotGreen`."""
        fitting = [mutant for mutant in mutants if mutant.fits(self._kernel)]
        if not fitting:
            return
        self._unchanged = self._patch_tree.build(self._artifacts / "unchanged" / "images")
        if self._choose is not None:
            # All tests are known to pass there.
            self._chooser = self._choose(self._unchanged)
            self._all_green = True
        elif any(mutant.harmless for mutant in fitting):
            self._check_all()
        else:
            expressions = sorted({f"({mutant.caught_by})" for mutant in fitting})
            self._check(" or ".join(expressions))

    def _check_all(self) -> None:
        """All tests, once: a red one on a mutant proves something only if it is green else."""
        if not self._all_green:
            self._check("")
            self._all_green = True

    def _check(self, expression: str) -> None:
        assert self._unchanged is not None
        outcome = self._run(
            self._unchanged, self._artifacts / "unchanged" / "run", expression, stop_after=5
        )
        if not outcome.passed and outcome.status != NOTHING:
            names = "\n".join(f"  {f.test} ({f.verdict}) {f.message}" for f in outcome.failures)
            raise NotGreen(
                f"the suite does not pass on the system without a mutant"
                f" (pytest's exit status {outcome.status})\n{names}\nlog: {outcome.log}"
            )
        self._say(f"{outcome.tests} tests pass without a mutant ({outcome.seconds:.0f} s)")

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Result]:
        """The results in the order in which they come: what needs no kernel first."""
        fitting = [mutant for mutant in mutants if mutant.fits(self._kernel)]
        for mutant in mutants:
            if mutant not in fitting:
                yield Result(mutant, MutantStatus.OTHER_KERNEL, message=mutant.elsewhere)
        for mutant in sorted(fitting, key=lambda mutant: mutant.of_kernel):
            if not mutant.harmless:
                yield self._one(mutant)
        yield from self._harmless([mutant for mutant in fitting if mutant.harmless])

    def _harmless(self, changes: Sequence[Mutant]) -> Iterator[Result]:
        """Harmless changes, all at once where they can be: what passes together passes alone."""
        if self._chooser is not None:
            yield from map(self._one, changes)
            return
        begun = time.monotonic()
        tried: list[Mutant] = []
        built, passed = 0.0, False
        if len(changes) > 1:
            tried, built, passed = self._together(changes)
        if len(tried) < 2:
            yield from map(self._one, changes)
        elif passed:
            tests = round(time.monotonic() - begun - built, 1)
            said = f"together with {len(tried) - 1} others"
            for change in tried:
                yield Result(change, MutantStatus.PASSED, built, tests, message=said)
        else:
            middle = len(tried) // 2
            yield from self._harmless(tried[:middle])
            yield from self._harmless(tried[middle:])
        if len(tried) >= 2:
            yield from self._harmless([change for change in changes if change not in tried])

    def _together(self, changes: Sequence[Mutant]) -> tuple[list[Mutant], float, bool]:
        """Which of the changes could be applied together, how long they took to build, and
        whether the tests passed.
        """
        place = self._artifacts / "harmless"
        shutil.rmtree(place, ignore_errors=True)
        tried = []
        begun = time.monotonic()
        try:
            for change in changes:
                with contextlib.suppress(PatchError):
                    self._patch_tree.apply(change.path)
                    tried.append(change)
            images = self._patch_tree.build(place / "images")
            built = round(time.monotonic() - begun, 1)
            return tried, built, self._run(images, place / "suite").passed
        except BuildError:
            return tried, round(time.monotonic() - begun, 1), False
        finally:
            self._patch_tree.restore()
            shutil.rmtree(place, ignore_errors=True)

    def _one(self, mutant: Mutant) -> Result:
        place = self._artifacts / mutant.name
        shutil.rmtree(place, ignore_errors=True)
        begun = time.monotonic()
        try:
            self._patch_tree.apply(mutant.path)
            images = self._patch_tree.build(place / "images")
            built = time.monotonic() - begun
            if self._chooser is None:
                result = self._test(mutant, images, place)
            else:
                chosen, file = self._chooser.choose(self._patch_tree, images, place)
                result = self._test_chosen(mutant, images, place, chosen, file)
        except NotGreen as error:
            return Result(mutant, MutantStatus.INFRASTRUCTURE, message=str(error))
        except PatchError as error:
            return Result(mutant, MutantStatus.DOES_NOT_APPLY, message=str(error))
        except BuildError as error:
            return Result(mutant, MutantStatus.DOES_NOT_BUILD, message=str(error))
        finally:
            self._patch_tree.restore()
            shutil.rmtree(place / "images", ignore_errors=True)
        if result.status in GOOD:
            shutil.rmtree(place, ignore_errors=True)
        return dataclasses.replace(
            result,
            build_seconds=round(built, 1),
            test_seconds=round(time.monotonic() - begun - built, 1),
        )

    def _test(self, mutant: Mutant, images: ImageSet, place: Path) -> Result:
        if mutant.harmless:
            outcome = self._run(images, place / "suite", stop_after=5)
            good, bad = MutantStatus.PASSED, MutantStatus.FALSE_ALARM
            return _result(mutant, outcome, good if outcome.passed else bad)
        named = self._run(images, place / "named", mutant.caught_by)
        if named.status == NOTHING:
            return Result(mutant, MutantStatus.NO_TEST, message=f"-k {mutant.caught_by!r}")
        if named.caught or named.infrastructure:
            return _result(mutant, named, MutantStatus.CAUGHT)
        self._check_all()
        outcome = self._run(images, place / "suite")
        status = MutantStatus.ELSEWHERE if outcome.caught else MutantStatus.SURVIVED
        if outcome.caught and not self._again(images, place, outcome.caught):
            said = f"{outcome.caught.test} was red once ({outcome.caught.verdict}), not again"
            return Result(mutant, MutantStatus.UNSTABLE, test=outcome.caught.test, message=said)
        return _result(mutant, outcome, status)

    def _test_chosen(
        self, mutant: Mutant, images: ImageSet, place: Path, chosen: Selection, file: Path
    ) -> Result:
        outcome = self._run(images, place / "chosen", select=file)
        if mutant.harmless:
            status = MutantStatus.PASSED if outcome.passed else MutantStatus.FALSE_ALARM
        elif outcome.caught or outcome.infrastructure:
            status = MutantStatus.CAUGHT
        else:
            outcome = self._run(images, place / "suite")
            status = MutantStatus.MISSED if outcome.caught else MutantStatus.SURVIVED
            if outcome.caught and name_without_kernel(outcome.caught.test) in chosen.tests:
                status = MutantStatus.BY_CHANCE
        return dataclasses.replace(_result(mutant, outcome, status), chosen=chosen)

    def _again(self, images: ImageSet, place: Path, failure: CaseResult) -> bool:
        """Whether a test that nobody expected to fail does so again, and only with the mutant."""
        assert self._unchanged is not None
        red = self._run(images, place / "again", targets=[failure.test])
        return (
            bool(red.caught)
            and self._run(self._unchanged, place / "without", targets=[failure.test]).passed
        )

    def _run(
        self,
        images: ImageSet,
        to: Path,
        expression: str = "",
        targets: Sequence[str] = SYSTEM,
        stop_after: int = 1,
        select: Path | None = None,
    ) -> SuiteResult:
        """A run; once more where it says nothing of the system."""
        return retried(
            lambda: self._suite.run(images, to, expression, targets, stop_after, select=select),
            unknown=lost,
        )


def _result(mutant: Mutant, outcome: SuiteResult, status: MutantStatus) -> Result:
    """`status`, unless the run says nothing."""
    failure = outcome.caught or next(iter(outcome.failures), None)
    if outcome.infrastructure:
        status = MutantStatus.INFRASTRUCTURE
    if failure is None:
        return Result(mutant, status, message=f"pytest's exit status {outcome.status}")
    return Result(
        mutant, status, test=failure.test, verdict=failure.verdict, message=failure.message
    )
