# SPDX-License-Identifier: MIT
"""Judges patches: apply, build, boot, test, compare, decide. The order is that of the cost."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.builders import sandbox
from harness.builders.cache import Cache
from harness.builders.kept_trees import open_patch_tree
from harness.builders.manifest import few
from harness.builders.patch_tree import PatchError, PatchTree
from harness.builders.sandbox import Contained
from harness.builders.watch import Limits
from harness.coverage.changed import LineFate, added_lines, counts, removed_lines
from harness.errors import BuildError, HarnessError, UserError, Verdict
from harness.gate import probe as probes
from harness.gate.cachecheck import CacheCheck
from harness.gate.change import change_in, change_since
from harness.gate.events import Watch, nobody
from harness.gate.findings import (
    first_line,
    in_scope,
    unnumbered,
    without_log,
)
from harness.gate.inputs import Input
from harness.gate.options import BOOT_TIMEOUT, Options
from harness.gate.probe import Probe
from harness.gate.record import MOST_LINES, Decided
from harness.gate.report import REPORTS
from harness.gate.result import (
    Decision,
    Finding,
    FindingKind,
    GateResult,
    InputPatch,
)
from harness.gate.suite_stage import SELECTED, SuiteStage
from harness.host.command import unexpected
from harness.host.output import claim, set_aside
from harness.host.progress import Progress
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.machine import confine
from harness.machine.errors import GuestCrash, GuestStopped, GuestTimeout
from harness.memory.errors import CannotPlace, ZeroedIomem
from harness.plaintext import counted
from harness.report import pictures

CONTEXT = 3
"""Lines around a change that reports show."""
_LEFT = ("patches", "boot", "suite", "build.log", SELECTED)
_LEFT_BULKY = ("images", "cache")
"""What a run leaves in its directory, beside the reports."""


class Gate(SuiteStage):
    """One judgement. Call `judge` once."""

    def __init__(
        self, options: Options, cache: Cache, progress: Progress, watch: Watch = nobody
    ) -> None:
        """`watch` is told of each stage and each test's result while they come."""
        self._limits: Limits | None = options.limits
        self._touched: list[str] = []
        blank = GateResult(
            Decision.INFRASTRUCTURE,
            "",
            (),
            str(options.base or ""),
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            artifacts=options.output,
        )
        super().__init__(blank, options, cache, progress, watch)

    def judge(self, inputs: Sequence[Input]) -> GateResult:
        """Judges the patches. Raises `UserError` for a base or a directory that cannot be
        used; all else is in the result.
        """
        out = self._options.output
        claim(out)
        set_aside(out, (*_LEFT, *REPORTS), _LEFT_BULKY)
        (out / "patches").mkdir()
        with CacheCheck(self._cache, out / "cache-check.log") as check:
            self._judge(inputs, check)
            known = (Decision.ACCEPTED, Decision.NOT_JUDGED)
            if self._result.decision not in known and (bad := check.damaged()):
                # Damaged files of the cache are infrastructure, not the patch's fault.
                note = f"judged again, for files of the cache were damaged: {few(bad)}"
                self._progress.say(note)
                self._begin_again(note)
                self._judge(inputs, check)
        return self._result

    def _judge(self, inputs: Sequence[Input], check: CacheCheck) -> None:
        self._add(
            patches=tuple(
                InputPatch(i.name, i.subject, i.author, i.paths, i.digest) for i in inputs
            )
        )
        try:
            self._confine()
            with contextlib.ExitStack() as patch_tree:
                base, patched, new_warnings = self._build(inputs, patch_tree, check)
                before = self._probe(base, patched, patch_tree)
            self._suite(base, patched)
            self._decide(before, new_warnings)
        except Decided as decided:
            self._finish(decided.decision, decided.reason, *decided.findings)
        except UserError:
            raise
        except HarnessError as error:
            finding = Finding(FindingKind.INFRASTRUCTURE, first_line(error), str(error))
            self._finish(Decision.INFRASTRUCTURE, finding.title, finding)
        except Exception as error:  # what a patch made may be like nothing that we have thought of
            told = unexpected(error).removeprefix("error: ")
            self._finish(Decision.INFRASTRUCTURE, told, Finding(FindingKind.INFRASTRUCTURE, told))

    def _confine(self) -> None:
        """Sees to it that builds can be confined here, or that they need not be."""
        self._limits, said = sandbox.enforced(self._options.limits)
        for text in (said, confine.remark()):
            if text:
                self._note(text)

    # Build

    def _build(
        self, inputs: Sequence[Input], patch_tree: contextlib.ExitStack, check: CacheCheck
    ) -> tuple[ImageSet, ImageSet, list[str]]:
        """The base's images, the patched ones, and the warnings that are new. `patch_tree` is left
        with a tree that is to be restored; `check` begins when the base is there.
        """
        options, out = self._options, self._options.output
        with self._stage("base"):
            shop = patch_tree.enter_context(
                open_patch_tree(
                    self._cache,
                    options.base,
                    self._progress,
                    options.workers,
                    self._limits,
                    options.config,
                )
            )
            base = shop.build(out / "images" / "base")
        self._add(base=f"Linux {base.release}")
        with self._stage("apply"):
            self._touched = self._apply(shop, inputs)
        check.begin()
        with self._stage("build") as others:
            before = shop.building
            try:
                patched = self._make(shop, inputs)
            finally:
                others.append(shop.building - before)
                if shop.log.exists():
                    shutil.copyfile(shop.log, out / "build.log")
        self._change = change_in(shop, base, patched)
        self._comes_again = not shop.laid
        if shop.laid and self._baselines().stored(base) is None:
            origin = shop.unlaid(out / "images" / "origin")
            self._since = origin, change_since(shop, origin, patched)
        diff = self._change.diff
        self._add(
            release=patched.release,
            changed=tuple(added_lines(diff)),
            removed=tuple(removed_lines(diff)),
            diff=shop.diff(CONTEXT),
        )
        return base, patched, self._compiler_warnings(shop)

    def _apply(self, shop: PatchTree, inputs: Sequence[Input]) -> list[str]:
        touched: list[str] = []
        patches = []
        for number, patch in enumerate(inputs, 1):
            path = patch.write(self._options.output / "patches" / f"{number:04d}.patch")
            try:
                files = shop.apply(path, loosely=True)
            except (PatchError, UserError) as error:
                named = f"{patch.name} does not apply to {self._result.base}"
                kind = FindingKind.APPLY if isinstance(error, PatchError) else FindingKind.SCOPE
                reason = named if kind is FindingKind.APPLY else str(error)
                raise Decided(
                    Decision.NOT_JUDGED, reason, Finding(kind, reason, without_log(str(error)))
                ) from error
            touched += files
            patches.append(
                InputPatch(patch.name, patch.subject, patch.author, tuple(files), patch.digest)
            )
        for said in shop.said:
            self._note(said)
        self._add(patches=tuple(patches))
        return touched

    def _make(self, shop: PatchTree, inputs: Sequence[Input]) -> ImageSet:
        log, touched = self._options.output / "build.log", self._touched
        to = self._options.output / "images" / "patched"
        try:
            try:
                patched = shop.build(to)
            except Contained:
                raise
            except BuildError as error:
                # A compiler may have been killed, or the tree spoilt: what counts comes twice.
                self._note(f"built again in a tree made good, after: {first_line(error)}")
                shop.restore()
                self._apply(shop, inputs)
                patched = shop.build(to)
        except Contained as error:
            title = f"the build was contained: {error.what}"
            finding = Finding(FindingKind.CONTAINED, title, str(error), log)
            raise Decided(Decision.REJECTED, title, finding) from error
        except BuildError as error:
            lines = without_log(str(error)).splitlines()
            title = next((line for line in lines[1:] if line.strip()), lines[0])
            finding = Finding(FindingKind.BUILD, title, "\n".join(lines), log)
            raise Decided(Decision.REJECTED, f"it does not build: {title}", finding) from error
        except OSError as error:
            raise HarnessError(str(self._cache.explain(error))) from error
        if not in_scope(shop, touched):
            files = ", ".join(touched[:3]) + (", …" if len(touched) > 3 else "")
            reason = f"nothing that is built for vexpress-a9 depends on what it changes ({files})"
            raise Decided(Decision.NOT_JUDGED, reason, Finding(FindingKind.SCOPE, reason))
        return patched

    def _compiler_warnings(self, shop: PatchTree) -> list[str]:
        if not shop.warnings:
            return []
        after, steps = list(shop.warnings), list(shop.steps)
        with self._stage("warnings of the base") as others:
            before = shop.building
            known = {unnumbered(line) for line in shop.warnings_before(steps)}
            others.append(shop.building - before)
        return list(dict.fromkeys(line for line in after if unnumbered(line) not in known))

    # Boot

    def _probe(
        self, base: ImageSet, patched: ImageSet, patch_tree: contextlib.ExitStack
    ) -> tuple[Probe, Probe | None]:
        """Boots both side by side, so that trouble of this host shows on the base too.

        Meanwhile the tree is restored.
        """
        place = self._options.output / "boot"
        with self._stage("boot") as others:
            begun = time.monotonic()
            with ThreadPoolExecutor(3) as pool:
                restored = pool.submit(patch_tree.close)
                one = pool.submit(self._boot, base, place / "base")
                two = pool.submit(self._boot, patched, place / "patched")
                before, after = one.result(), two.result()
                restored.result()
            others.append(time.monotonic() - begun)
        if isinstance(before, HarnessError):
            raise HarnessError(f"the base itself does not boot on this host: {before}") from before
        self._add(map_before=before.areas, boot_before=_milestones(before))
        if isinstance(after, HarnessError):
            self._boot_failed(after, place / "patched")
            return before, None
        self._add(
            map_after=after.areas,
            boot_after=_milestones(after),
            transcript_diff=probes.difference(before, after),
            measures=probes.measures(
                (before, base),
                (after, patched),
                self._options.boot_limit,
                self._options.latency_limit,
            ),
        )
        return before, after

    def _boot(self, images: ImageSet, place: Path) -> Probe | HarnessError:
        """A boot; once more where the harness and not the system is at fault, or may be."""

        def again(why: str) -> None:
            self._note(f"{place.name}: booted again, after an infrastructure failure: {why}")

        def boot() -> Probe:
            return retried(lambda: probes.probe(images, place, BOOT_TIMEOUT), again)

        try:
            return boot()
        except GuestTimeout as error:
            # This boot is deterministic: what hangs once hangs again, unless the host held it up.
            self._note(f"{place.name}: booted again, after no answer: {first_line(error)}")
        except HarnessError as error:
            return error
        try:
            return boot()
        except HarnessError as error:
            return error

    def _boot_failed(self, error: HarnessError, place: Path) -> None:
        """The patched system did not get through the first boot. Raises what is decided by it."""
        kinds = {
            Verdict.CRASH: FindingKind.CRASH,
            Verdict.TIMEOUT: FindingKind.TIMEOUT,
            Verdict.INFRASTRUCTURE: FindingKind.INFRASTRUCTURE,
        }
        kind = kinds.get(error.verdict, FindingKind.BOOT)
        if isinstance(error, GuestStopped):
            kind = FindingKind.CRASH
        if silent := isinstance(error, CannotPlace | ZeroedIomem):
            kind = FindingKind.BOOT  # the base's areas are known, by the same witnesses
        finding = Finding(kind, first_line(error), str(error), place / "transcript.txt")
        self._note("the base booted beside it, on the same host and at the same time")
        if kind is FindingKind.INFRASTRUCTURE:
            raise Decided(Decision.INFRASTRUCTURE, finding.title, finding)
        # Where nobody says where the areas are, no test can.
        if silent or isinstance(error, GuestCrash | GuestTimeout | GuestStopped):
            raise Decided(Decision.REJECTED, finding.title, finding)
        # It boots, and something is wrong with it: the suite will say what, with its test.
        self._found(finding)

    # Decision

    def _decide(self, boots: tuple[Probe, Probe | None], warnings: Sequence[str]) -> None:
        base, patched = boots
        self._found_lines(FindingKind.COMPILER_WARNING, warnings)
        if patched is not None:
            new, gone = probes.new_warnings(base, patched)
            self._add(warnings_gone=tuple(gone[:MOST_LINES]))
            self._found_lines(FindingKind.KERNEL_WARNING, new)
        for measure in self._result.measures:
            if measure.regressed:
                title = f"{measure.name}: {measure.ratio:.2f} times the base's"
                self._found(Finding(FindingKind.REGRESSION, title))
        judging = self._result.tests_judged
        fates = counts((*self._result.changed, *self._result.removed))
        idle = fates[LineFate.NONE]
        code = sum(fates.values()) - fates[LineFate.NOT_CODE]
        was = "was" if idle == 1 else "were"
        said = (
            f"{idle} of {counted(code, 'changed line')} {was} executed by no test" if idle else ""
        )
        if said and self._options.require_coverage:
            self._found(Finding(FindingKind.COVERAGE, said))
        if not judging and not self._result.findings:
            title = "no test judged it: none has a result on both systems"
            self._found(Finding(FindingKind.INFRASTRUCTURE, title))
        findings = self._result.findings
        bad = [finding for finding in findings if finding.kind is not FindingKind.INFRASTRUCTURE]
        if bad:
            others = len(bad) - 1 + self._unnamed
            more = f", and {others} more" if others else ""
            by = f" ({counted(judging, 'test')} judged it)" if judging else ""
            self._finish(Decision.REJECTED, f"{bad[0].kind.value}: {bad[0].title}{more}{by}")
        elif findings:
            self._finish(Decision.INFRASTRUCTURE, findings[0].title)
        else:
            passed = f"{judging} tests pass as they do on the base"
            self._finish(Decision.ACCEPTED, f"but {said}; {passed}" if said else passed)


def _milestones(probe: Probe) -> tuple[tuple[float, str], ...]:
    return tuple(pictures.milestones("\n".join(probe.transcript)))
