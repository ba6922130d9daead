# SPDX-License-Identifier: MIT
"""Takes generated mutants one by one: compile, build, run the tests that execute the place."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.builders.patch_tree import PatchTree
from harness.coverage.record import CoverageRecord
from harness.errors import BuildError, HarnessError
from harness.gate.selection import GUARDS
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.mutants.objects import Compiler
from harness.mutants.operators import Change
from harness.mutants.score import LIVE, Fate, Score, Sheet
from harness.pytest_plugin.selection import name_without_kernel
from harness.testrun.result import SuiteResult, lost
from harness.testrun.suite import Suite

FEW = 12
"""Tests that are run first: those that execute the place and else the least."""
BOOT_TESTS = ("tests/cma/test_at_boot.py", "tests/cma/test_main_job.py")
"""Files whose tests judge what the boot did."""
SUITE_SECONDS = 420.0
"""For the tests of one mutant; those of the whole suite need some 300."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that is changed."""

    file: str
    """As in reports: ``mm/cma.c``, ``images/module/cma.c``."""
    text: bytes
    compiler: Compiler

    @property
    def digest(self) -> str:
        """Of its text."""
        return hashlib.sha256(self.text).hexdigest()[:16]

    def patch(self, change: Change) -> str:
        """The change as a patch for a patch tree."""
        inside = self.file if self.file.startswith("images/") else f"linux/{self.file}"
        old, new = (
            text.decode().splitlines(keepends=True) for text in (self.text, change.apply(self.text))
        )
        return "".join(difflib.unified_diff(old, new, f"a/{inside}", f"b/{inside}"))


class Choice:
    """Which tests are run on a change, by what each of them executed before."""

    def __init__(self, record: CoverageRecord, quick: Sequence[str]) -> None:
        """`quick` are the tests that are run, beside those which boot themselves, on what the boot
        executes: all tests do.
        """
        self._record = record
        self._quick = [test for test in quick if test in record.tests]

    def rounds(self, change: Change) -> tuple[list[str], list[str]]:
        """The tests to be run first, and all others that execute the place; none at all where
        neither they nor the boot do.
        """
        lines = self._lines(change)
        found: dict[str, None] = {}
        tests = self._record.tests
        for test in sorted(tests, key=lambda name: (self._record.size(name), name)):
            if lines & tests[test].get(change.file, frozenset()):
                found[test] = None
        first = list(found)[:FEW]
        if lines & self._record.boot.get(change.file, frozenset()):
            first = [test for test in GUARDS if test in tests] + first
            found |= dict.fromkeys(test for test in tests if test.startswith(BOOT_TESTS))
            found |= dict.fromkeys(self._quick)
        first = list(dict.fromkeys(first))
        return first, [test for test in found if test not in first]

    def _lines(self, change: Change) -> set[int]:
        """The lines with code that the change is in: its own, its statement's, or its function's,
        the first of them that has code at all.
        """
        code = self._record.code.get(change.file, frozenset())
        for first, last in (change.lines, change.around):
            if lines := set(range(first, last + 1)) & code:
                return lines
        return {
            line for line in code if self._record.function_of(change.file, line) == change.function
        }


class Campaign:
    """Mutants of several files on one kernel."""

    def __init__(
        self,
        patch_tree: PatchTree,
        suite: Suite,
        choice: Choice,
        sheet: Sheet,
        place: Path,
        say: Callable[[str], None],
        *,
        tests: bool = True,
    ) -> None:
        """Without `tests` each mutant that is worth a test is left unknown."""
        self._tests = tests
        self._patch_tree = patch_tree
        self._suite = suite
        self._choice = choice
        self._sheet = sheet
        self._place = place
        self._say = say
        self._good: set[str] = set()
        self._bad: set[str] = set()
        self._unchanged: ImageSet | None = None
        self._names = itertools.count(1)

    def run(
        self, sources: Sequence[Source], changes: Sequence[Change], sample: int | None, seed: int
    ) -> Iterator[Score]:
        """Results as they come. Of `changes` so many are taken, at random, as make objects that
        differ; what the sheet has is not done again, and counts.
        """
        by_file = {source.file: source for source in sources}
        originals = {source.file: source.compiler.digest(source.text) for source in sources}
        order = list(changes)
        random.Random(seed).shuffle(order)
        live = 0
        for change in order:
            if sample is not None and live >= sample:
                return
            score = self._sheet.scores.get(change.name)
            if score is None:
                score = self._one(by_file[change.file], change, originals[change.file])
                self._sheet.add(score)
                yield score
            live += score.fate in LIVE

    def _one(self, source: Source, change: Change, original: str) -> Score:
        begun = time.monotonic()
        blank = Score(change.name, change.file, change.function, change.operator, Fate.UNKNOWN)
        try:
            digest = source.compiler.digest(change.apply(source.text))
        except BuildError as error:
            return dataclasses.replace(blank, fate=Fate.DOES_NOT_BUILD, message=str(error))
        if digest == original:
            return dataclasses.replace(blank, fate=Fate.EQUIVALENT)
        others = [one for one in self._sheet.scores.values() if one.digest == digest]
        if others:
            return dataclasses.replace(blank, fate=Fate.DUPLICATE, message=others[0].name)
        blank = dataclasses.replace(blank, digest=digest)
        rounds = self._choice.rounds(change)
        if not any(rounds):
            return dataclasses.replace(blank, fate=Fate.NOT_EXECUTED)
        if not self._tests:
            return blank
        score = self._tested(source, change, blank, rounds)
        return dataclasses.replace(score, seconds=round(time.monotonic() - begun, 1))

    def _tested(
        self, source: Source, change: Change, blank: Score, rounds: tuple[list[str], list[str]]
    ) -> Score:
        place = self._place / "mutant"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        patch = place / "change.patch"
        patch.write_text(source.patch(change))
        try:
            self._patch_tree.apply(patch)
            images = self._patch_tree.build(place / "images")
            return self._judged(images, blank, rounds)
        except BuildError as error:
            return dataclasses.replace(blank, fate=Fate.DOES_NOT_BUILD, message=str(error))
        except HarnessError as error:
            return dataclasses.replace(blank, message=str(error))
        finally:
            self._patch_tree.restore()
            shutil.rmtree(place / "images", ignore_errors=True)

    def _judged(self, images: ImageSet, blank: Score, rounds: tuple[list[str], list[str]]) -> Score:
        count = 0
        for number, tests in enumerate(rounds):
            wanted = [test for test in tests if test not in self._bad]
            while wanted:
                run = self._run(images, f"round-{number}", wanted)
                count += run.tests
                failure = run.caught
                if failure is None and run.infrastructure:
                    why = f"the tests said nothing (pytest's exit status {run.status})"
                    return dataclasses.replace(blank, message=why, tests=count)
                if failure is None:
                    break
                test = name_without_kernel(failure.test)
                if self._passes_unchanged(test):
                    return dataclasses.replace(
                        blank,
                        fate=Fate.KILLED,
                        test=test,
                        verdict=failure.verdict,
                        message=failure.message,
                        tests=count,
                    )
                self._say(f"{test} fails without a mutant too: it is left out")
                wanted = [test for test in wanted if test not in self._bad]
        return dataclasses.replace(blank, fate=Fate.SURVIVED, tests=count)

    def _passes_unchanged(self, test: str) -> bool:
        """Whether a test that noticed something passes on the system as it is; asked once."""
        if test not in self._good | self._bad:
            images = self._unchanged_images()
            passed = self._run(images, "unchanged", [test]).passed
            (self._good if passed else self._bad).add(test)
        return test in self._good

    def _unchanged_images(self) -> ImageSet:
        # Built before a change is applied, see `prepare`.
        assert self._unchanged is not None
        return self._unchanged

    def prepare(self) -> None:
        """Builds the system as it is, against which tests that notice something are checked."""
        place = self._place / "unchanged"
        shutil.rmtree(place, ignore_errors=True)
        self._unchanged = self._patch_tree.build(place / "images")

    def _run(self, images: ImageSet, name: str, tests: Sequence[str]) -> SuiteResult:
        to = self._place / "mutant" / f"{next(self._names)}-{name}"
        select = self._place / "select.txt"
        select.write_text("\n".join(tests) + "\n")
        files = sorted({test.partition("::")[0] for test in tests})

        def once() -> SuiteResult:
            return self._suite.run(images, to, targets=files, select=select, timeout=SUITE_SECONDS)

        return retried(once, unknown=lost)
