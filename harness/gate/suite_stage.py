# SPDX-License-Identifier: MIT
"""The part of a gate that chooses tests, runs them, and compares them with the base."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.coverage.changed import judged
from harness.coverage.record import CoverageRecord, merged
from harness.coverage.record import read as read_record
from harness.errors import HarnessError, UserError, Verdict
from harness.gate import verdicts
from harness.gate.baseline import Baselines, Results, compare
from harness.gate.canary import Canary
from harness.gate.causes import alike
from harness.gate.enough import Failures
from harness.gate.events import Chosen, Watch
from harness.gate.options import CANARIES, Options
from harness.gate.record import GateRecord
from harness.gate.result import Finding, FindingKind, GateResult, ResultChange, TestChange
from harness.gate.selection import GUARDS_ALONE, LOOK, Evidence, PatchChange
from harness.gate.selection import select as choose
from harness.gate.settled import Ending, run_settled
from harness.host.files import write_text
from harness.host.progress import Progress
from harness.imageset.linetable import TRACED
from harness.imageset.model import ImageSet
from harness.plaintext import counted
from harness.pytest_plugin.selection import name_without_kernel, read_selection
from harness.testrun.result import CaseResult, SuiteResult
from harness.testrun.suite import Suite, coverage_of

SELECTED = "select.txt"
"""The names of the tests that were chosen, in the order in which they run."""


_SINCE = "what commits before it change counts too, for the base was never run"


class SuiteStage(GateRecord):
    """A gate's record with what its suite needs. Before `_suite`, `_change` is to be set."""

    _change: PatchChange
    _since: tuple[ImageSet, PatchChange] | None = None
    """A kernel of which more may be known than of the base, from which the base differs by some
    commits; and what the patched one changes of that.
    """

    _comes_again = False
    """The base is one that the cache has, and no commit of a tree."""

    def __init__(
        self,
        blank: GateResult,
        options: Options,
        cache: Cache,
        progress: Progress,
        watch: Watch,
    ) -> None:
        super().__init__(blank, watch)
        self._base_lines: CoverageRecord | None = None
        """Who executes what on the base, where that is known."""
        self._options = options
        self._cache = cache
        self._progress = progress

    def _suite(self, base: ImageSet, patched: ImageSet) -> None:
        options, out = self._options, self._options.output
        changed = (line.file for line in self._result.changed if _is_kernel(line.file))
        traced = tuple(dict.fromkeys((*TRACED, *changed)))
        suite = Suite(self._cache.root, out / "cache", str(options.workers), traced, self._case)
        if not (self._nothing_known(base) and self._look(suite, base, patched)):
            self._run(suite, base, patched)
        shutil.rmtree(out / "cache", ignore_errors=True)

    def _nothing_known(self, base: ImageSet) -> bool:
        """Whether it takes minutes to find out which tests to run."""
        options = self._options
        asked = options.select is not None or options.tests or options.whole
        if asked or self._baselines().stored(base) is not None:
            return False
        known = self._known_before()
        return known is None or choose(*known).whole

    def _known_before(self) -> tuple[Evidence, PatchChange] | None:
        """What chooses tests where nothing is known of the base, if something does."""
        code = self._change.code
        if not code.objects and not code.reach:
            return GUARDS_ALONE, self._change
        return self._inherited()

    def _inherited(self) -> tuple[Evidence, PatchChange] | None:
        """What is known of a kernel some commits before the base, and what differs from that."""
        if self._since is None:
            return None
        origin, change = self._since
        evidence = self._baselines().stored(origin)
        if evidence is None:
            return None
        took = self._baselines().seconds(origin)
        return dataclasses.replace(evidence, seconds=took), change

    def _look(self, suite: Suite, base: ImageSet, patched: ImageSet) -> bool:
        """Runs a few tests before anything is known of the base; whether they reject the patch."""
        out = self._options.output
        with self._canary(base) as canary:
            with self._stage("first look") as others:
                place = out / "suite" / "look"
                ending = _ending(frozenset(), canary)
                run = run_settled(suite, patched, place, self._note, targets=LOOK, ending=ending)
                others.append(min(run.seconds, run.busy / self._options.workers))
            failing = [case.test for case in run.cases if case.system_at_fault]
            now = canary.results(failing) if failing else {}
        if not any(case.outcome == "passed" for case in now.values()):
            return False
        self._add(selection="a first look, for nothing is known of the base yet")
        newly = [item for item in self._compare(now, run, first=True) if item.test in now]
        self._cover([coverage_of(place)])
        self._found(*map(self._repeatable, verdicts.findings(newly, now, now)))
        return True

    def _run(self, suite: Suite, base: ImageSet, patched: ImageSet) -> None:
        options, out = self._options, self._options.output
        with self._stage("suite of the base") as others:
            chosen, known = self._choose(suite, base, others)
        excused = frozenset(test for test, case in known.items() if case.failed)
        with self._canary(base) as canary:
            with self._stage("suite") as others:
                ending = _ending(excused, canary)
                place = out / "suite" / "patched"
                run = run_settled(suite, patched, place, self._note, chosen, ending=ending)
                others.append(min(run.seconds, run.busy / options.workers))
            failing = self._compare(known, run)
            parts = [place, *(out / "suite").glob("patched-part-2")]
            self._cover(list(map(coverage_of, parts)))
            with self._stage("canary") as others:
                begun = time.monotonic()
                now = canary.results([item.test for item in failing if item.case.known])
                self._found(*map(self._repeatable, verdicts.findings(failing, known, now)))
                others.append(time.monotonic() - begun)

    def _canary(self, base: ImageSet) -> Canary:
        root, out = self._cache.root, self._options.output
        return Canary(root, base, out, self._note, comes_again=self._comes_again)

    def _baselines(self) -> Baselines:
        kept = self._cache.directory("baselines")
        return Baselines(kept, self._progress.say, self._options.baselines)

    def _repeatable(self, finding: Finding) -> Finding:
        """With the command that runs its test again."""
        if not self._options.command or finding.kind is FindingKind.INFRASTRUCTURE:
            return finding
        test = shlex.quote(name_without_kernel(finding.test))
        return dataclasses.replace(finding, again=f"{self._options.command} --test {test}")

    def _choose(
        self, suite: Suite, base: ImageSet, others: list[float]
    ) -> tuple[Path | None, Results]:
        """The file of the tests to run, None for all, and what is known of them on the base. Says
        which they are, and why these.
        """
        options, place = self._options, self._options.output / "suite" / "base"
        baselines = self._baselines()
        evidence: Evidence | None = None
        select: Path | None = None
        tests: Collection[str] | None = None
        if options.select is not None:
            self._add(selection=f"those of {options.select.name} (--whole runs all)")
            select, tests = options.select, read_selection(options.select)
        elif options.tests:
            self._add(selection="those that were named")
            select, tests = options.output / SELECTED, options.tests
            write_text(select, "".join(f"{test}\n" for test in tests))
        elif options.whole:
            self._add(selection="all tests, as was asked")
        else:
            stored = baselines.stored(base) is not None
            known_of = None if stored else self._known_before()
            inherited = known_of is not None and known_of[1] is not self._change
            if known_of is None:
                evidence, seconds = baselines.evidence(suite, base, place)
                others.append(seconds)
                if evidence is not None:
                    took = baselines.seconds(base)
                    known_of = dataclasses.replace(evidence, seconds=took), self._change
            if known_of is None:
                self._add(selection="all tests: what each executes is not known on the base")
            else:
                chosen = choose(*known_of)
                more = f"; {_SINCE}" if inherited else ""
                self._add(selection=f"{chosen.why}{more}", tests_of=len(known_of[0].every))
                self._watch(Chosen(chosen))
                select, tests = options.output / SELECTED, chosen.tests
                write_text(select, "".join(f"{test}\n" for test in tests))
        if evidence is None and self._result.removed:
            evidence = baselines.stored(base)
        self._base_lines = evidence.lines if evidence else None
        known, seconds = baselines.results(suite, base, tests, place)
        others.append(seconds)
        return select, known

    def _cover(self, paths: Sequence[Path]) -> None:
        """Enters who executed the changed lines, where the run says it, and who the removed ones
        on the base.
        """
        if self._base_lines is not None:
            self._add(removed=tuple(judged(self._result.removed, self._base_lines)))
        if not self._result.changed:
            return
        try:
            record = merged([read_record(path) for path in paths])
        except UserError:
            self._add(changed=())
            self._note("which changed lines were executed is not known")
            return
        self._add(changed=tuple(judged(self._result.changed, record)))

    def _compare(
        self, known: Results, run: SuiteResult, *, first: bool = False
    ) -> list[TestChange]:
        """Enters the suite's results; the tests that newly fail. `known` are those of the base, at
        a `first` look of failing tests alone.
        """
        ran = [case for case in run.cases if case.ran]
        changes = compare(known, run.by_test, not run.cut)
        if first:
            changes = tuple(item for item in changes if item.change is not ResultChange.NEW)
        if run.cut:
            count = counted(len(run.failures), "failing test")
            self._note(f"the suite was ended after {count}")
        self._add(
            cases=run.cases,
            tests=changes,
            tests_run=len(ran),
            tests_passed=sum(case.outcome == "passed" for case in ran),
            tests_of=max(self._result.tests_of, len(ran), sum(case.ran for case in known.values())),
            tests_judged=len(verdicts.judging(run.cases, known)),
        )
        failing = [change for change in changes if change.change is ResultChange.NEWLY_FAILS]
        if run.infrastructure and not failing:
            raise HarnessError(
                f"the suite did not run (pytest's exit status {run.status}); see {run.log}"
            )
        unknown = sum(case.test not in known for case in ran)
        if unknown and not first:
            self._note(f"of {unknown} tests nothing is known on the base: they judge nothing")
        if not run.cut:
            self._found(*verdicts.without_result(known, run.by_test))
        return failing


def _ending(excused: Collection[str], canary: Canary) -> Ending:
    """When tests of the patched system have said enough."""

    def first(begin: Callable[[CaseResult], object]) -> Callable[[CaseResult], object]:
        def both(case: CaseResult) -> None:
            canary.ask(case.test)
            begin(case)

        return both

    return Ending(
        ends=lambda begin: Failures(excused, first(begin)),
        excused=excused,
        at_once=(Verdict.CRASH,),
        enough=CANARIES,
        alike=alike,
    )


def _is_kernel(file: str) -> bool:
    """Whether a file of a diff is C source of the kernel."""
    return file.endswith(".c") and not file.startswith("images/")
