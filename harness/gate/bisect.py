# SPDX-License-Identifier: MIT
"""Finds the first bad commit of a git tree, by what the suite says of the system built from it.

git chooses the commits (git-bisect(1)), in a bare clone of its own; the user's repository is only
read. Each commit is the good one's built tree with the difference as a patch, so a step makes only
what differs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.imageset import build_image_set
from harness.builders.kept_trees import open_patch_tree
from harness.builders.kernel_source import at_commit
from harness.builders.patch_tree import PatchError, PatchTree
from harness.builders.sandbox import enforced
from harness.errors import BuildError, HarnessError, UserError, Verdict
from harness.gate.findings import without_log
from harness.gate.inputs import commit_of, difference, git
from harness.gate.options import BOOT_TIMEOUT, DEFAULT_LIMITS
from harness.gate.probe import probe
from harness.gate.settled import Ending, run_settled
from harness.host.output import claim, set_aside
from harness.host.progress import Progress
from harness.host.retry import retried
from harness.imageset.model import ImageSet
from harness.machine import confine
from harness.machine.errors import GuestStopped
from harness.testrun.suite import SYSTEM, Suite


class Mark(enum.Enum):
    """The mark that git gets for a commit."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"
    """It cannot be judged."""

    @property
    def run_status(self) -> int:
        """The exit status for ``git bisect run``."""
        return {Mark.GOOD: 0, Mark.BAD: 1, Mark.SKIP: 125}[self]


@dataclasses.dataclass(frozen=True)
class Tested:
    """What came of one test of one commit."""

    __test__ = False

    commit: str
    mark: Mark
    why: str
    """One line."""
    tests: tuple[str, ...] = ()
    """The tests that failed, as pytest names them; empty where it did not come to them."""


@dataclasses.dataclass(frozen=True)
class BisectSettings:
    """How to judge a commit."""

    directory: Path
    """The git repository."""
    output: Path
    boot_hang: Mark = Mark.BAD
    workers: int = 2


class Tester:
    """Tests commits against one built tree."""

    def __init__(
        self, settings: BisectSettings, base: str, shop: PatchTree, cache: Cache, progress: Progress
    ) -> None:
        """`base` is the full id of the commit that `shop` was made from."""
        self._settings = settings
        self._base = base
        self._shop = shop
        self._cache = cache
        self._progress = progress
        self._suite = Suite(cache.root, settings.output / "cache", str(settings.workers))
        self._count = 0

    def test(self, commit: str, targets: Sequence[str] = ()) -> Tested:
        """Builds, boots and tests one commit: the tests `targets`, or all.

        Raises `HarnessError` where the harness failed twice and nothing is known of the commit.
        """
        self._count += 1
        place = self._settings.output / f"{self._count:02d}-{commit[:12]}"
        place.mkdir(parents=True)
        try:
            images = self._images(commit, place)
        except (BuildError, UserError) as error:
            return Tested(commit, Mark.SKIP, f"it does not build: {_reason(error)}")
        try:
            return self._booted(commit, images, place) or self._tests(
                commit, images, place, targets
            )
        finally:
            shutil.rmtree(place / "images", ignore_errors=True)

    def _images(self, commit: str, place: Path) -> ImageSet:
        patch = place / "difference.patch"
        patch.write_bytes(difference(self._settings.directory, self._base, commit))
        try:
            if patch.stat().st_size:
                self._shop.apply(patch)
            return self._shop.build(place / "images")
        except PatchError:
            # It touches the lines that our own patches touch: theirs come first then.
            self._progress.say(f"{commit[:12]} is built by itself: our patches are in its way")
            source = at_commit(self._settings.directory, commit)
            return build_image_set(source, self._progress, self._cache)
        finally:
            self._shop.restore()

    def _booted(self, commit: str, images: ImageSet, place: Path) -> Tested | None:
        """The mark of a commit that does not boot; None for one that does."""
        try:
            retried(lambda: probe(images, place / "boot", BOOT_TIMEOUT))
        except HarnessError as error:
            if error.verdict is Verdict.INFRASTRUCTURE:
                raise
            if error.verdict is Verdict.PRODUCT and not isinstance(error, GuestStopped):
                return None
            mark = self._settings.boot_hang if error.verdict is Verdict.TIMEOUT else Mark.BAD
            return Tested(commit, mark, f"at boot: {_reason(error)}")
        return None

    def _tests(self, commit: str, images: ImageSet, place: Path, targets: Sequence[str]) -> Tested:
        run = run_settled(
            self._suite,
            images,
            place / "suite",
            self._progress.say,
            targets=list(targets) or SYSTEM,
            ending=Ending(stop_after=max(3, len(targets)), at_once=(Verdict.CRASH,)),
        )
        failed = [case for case in run.cases if case.system_at_fault]
        if not run.cases or (run.infrastructure and not failed):
            raise HarnessError(
                f"the tests of {commit[:12]} did not run, twice (pytest's exit status"
                f" {run.status}); see {run.log}"
            )
        if not failed:
            ran = sum(case.outcome == "passed" for case in run.cases)
            if not ran:
                return Tested(commit, Mark.SKIP, "none of the tests can be run on it")
            return Tested(commit, Mark.GOOD, f"{ran} tests pass")
        why = f"{failed[0].test.rpartition('::')[2]}: {failed[0].message.partition(chr(10))[0]}"
        return Tested(commit, Mark.BAD, why, tuple(case.test for case in failed))


def _reason(error: Exception) -> str:
    """One line for an error: a compiler's own where there is one."""
    lines = without_log(str(error)).splitlines()
    return lines[1] if isinstance(error, BuildError) and len(lines) > 1 else lines[0]


@contextlib.contextmanager
def tester(
    settings: BisectSettings, base: str, cache: Cache, progress: Progress
) -> Iterator[Tester]:
    """A tester whose tree is the commit `base`, built if it has to be.

    Raises `UserError` for an output directory that is not ours to write to.
    """
    claim(settings.output)
    set_aside(settings.output, ("[0-9][0-9]*-*",), ("cache",))
    source = at_commit(settings.directory, base)
    limits, less = enforced(DEFAULT_LIMITS)
    for said in (less, confine.remark()):
        if said:
            progress.say(said)
    with open_patch_tree(cache, source, progress, settings.workers, limits) as shop:
        made = Tester(settings, base, shop, cache, progress)
        try:
            yield made
        finally:
            shutil.rmtree(settings.output / "cache", ignore_errors=True)


# The search

_LEFT = re.compile(r"Bisecting: (\d+) revisions? left")
_FIRST = re.compile(r"^([0-9a-f]{40}) is the first bad commit", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Found:
    """The end of a search."""

    first_bad: str
    steps: tuple[Tested, ...]
    """The commits that were tested between the ends, in their order."""
    proof: tuple[Tested, ...]
    """The first bad commit, twice, and its parent, twice."""

    @property
    def proved(self) -> bool:
        """Whether the second test of both commits gave the same as the first."""
        marks = [tested.mark for tested in self.proof]
        return marks == [Mark.BAD, Mark.BAD, Mark.GOOD, Mark.GOOD]


class Undecided(HarnessError):
    """Only commits that cannot be judged are left."""


def search(
    good: str,
    bad: str,
    directory: Path,
    test: Callable[[str, Sequence[str]], Tested],
    say: Callable[[str], None],
) -> Found:
    """Finds the first bad commit. `good` and `bad` are full ids; `test` tests a commit.

    Raises `UserError` where the ends are not what they are said to be, `Undecided`.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as place:
        clone = Path(place) / "bisect.git"
        local = ("-c", "protocol.file.allow=always")
        git(directory, *local, "clone", "--quiet", "--bare", "--shared", ".", str(clone))
        ancestor = git(clone, "merge-base", good, bad).decode().strip()
        if ancestor != good:
            raise UserError(f"{good[:12]} is no ancestor of {bad[:12]}: there is nothing between")
        end = test(bad, ())
        say(line("bad", end))
        if end.mark is not Mark.BAD:
            raise UserError(f"BAD, {bad[:12]}, is not bad: {end.why}")
        targets = end.tests
        start = test(good, targets)
        say(line("good", start))
        if start.mark is not Mark.GOOD:
            raise UserError(f"GOOD, {good[:12]}, is not good: {start.why}")
        steps: list[Tested] = []
        said = git(clone, "bisect", "start", "--no-checkout", bad, good).decode()
        while not (match := _FIRST.search(said)):
            commit = commit_of(clone, "BISECT_HEAD")
            tested = test(commit, targets)
            steps.append(tested)
            left = _LEFT.search(said)
            say(line(f"step {len(steps)}", tested) + (f" ({left[1]} left)" if left else ""))
            said = _told(clone, tested.mark)
        first = match[1]
        parent = commit_of(clone, f"{first}^")
        proof = []
        for commit in (first, first, parent, parent):
            proof.append(test(commit, targets))
            say(line("proof", proof[-1]))
    return Found(first, tuple(steps), tuple(proof))


def _told(clone: Path, mark: Mark) -> str:
    try:
        return git(clone, "bisect", mark.value).decode()
    except UserError as error:
        # git's exit status 2 there: only commits are left that were skipped.
        raise Undecided(f"only commits that cannot be judged are left:\n{error}") from error


def line(what: str, tested: Tested) -> str:
    """One line for a commit's result."""
    return f"{what:<8} {tested.commit[:12]}  {tested.mark.value:<4}  {tested.why[:160]}"
