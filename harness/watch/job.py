# SPDX-License-Identifier: MIT
"""One run of ``harness watch``: lays what was saved over the tree, builds it, and tests it.

The tree stays as the last run left it, so that make builds only what was saved since. What is
unfinished when a run is cancelled, the next one finishes: make removes what it had half done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.builders import overlay, sandbox
from harness.builders.cache import Cache
from harness.builders.kept_trees import open_patch_tree
from harness.builders.own_tree import CommitTree
from harness.builders.patch_tree import PatchTree
from harness.builders.repository import Repository
from harness.errors import BuildError
from harness.gate.baseline import Baselines
from harness.gate.options import DEFAULT_LIMITS, MOST_FAILURES
from harness.gate.selection import Evidence
from harness.host.progress import LineProgress
from harness.imageset.model import ImageSet
from harness.plaintext import clean
from harness.testrun.result import CaseResult, SuiteResult, lost
from harness.testrun.suite import Suite
from harness.watch import story, tests
from harness.watch.events import Event, Outcome, Stage

KEPT = 8
"""Runs whose logs are kept."""


@dataclasses.dataclass(frozen=True)
class Order:
    """A run that is asked for."""

    run: int
    all_tests: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to watch."""

    repository: Repository
    output: Path
    jobs: int
    config: tuple[Path, ...] = ()
    select: Path | None = None
    """The tests to run; None: those that execute what changed."""


Tell = Callable[[Event], None]


class Job:
    """The runs on one tree. `close` it at the end."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self._settings = settings
        self._tell = tell
        self._cache = Cache(say=self._say)
        self._progress = LineProgress()
        self._progress.say = self._say  # type: ignore[method-assign]
        self._order = Order(0)
        self._files: tuple[str, ...] = ()
        self._open = contextlib.ExitStack()
        self._tree: PatchTree | None = None
        self._head = ""
        self._base: overlay.Overlay = {}
        self._evidence: Evidence | None = None
        self._built: tuple[overlay.Overlay, ImageSet, Path] | None = None
        """What was laid, what it made, and the directory of the run that has it."""

    def close(self) -> None:
        """Lets go of the tree."""
        self._open.close()
        self._tree = None

    def run(self, order: Order) -> None:
        """One run; how it ended is told, whatever that is, unless it is cancelled."""
        self._order, self._files = order, ()
        place = self._place(order.run)
        end = self._end(place)
        self._tell(end)

    def _end(self, place: Path) -> Event:
        event = Event(self._order.run, Stage.DONE, report=str(place))
        try:
            self._said(Stage.READ, "reading the tree")
            edits, files = self._edits()
            self._files = files
            event = dataclasses.replace(event, files=files)
            if not files:
                return dataclasses.replace(
                    event, outcome=Outcome.NOTHING, text="nothing differs from the last commit"
                )
            images, made = self._build(edits, files, place)
            if not made:
                text = "nothing that is built for vexpress-a9 depends on what differs"
                return dataclasses.replace(event, outcome=Outcome.NOTHING, text=text)
            manifest = place / "images.json"
            images.write(manifest)
            return self._test(dataclasses.replace(event, images=str(manifest)), images, place)
        except BuildError as error:
            rows = story.of_text(str(error))
            outcome = Outcome.NO_BUILD
            title = next(iter(rows[1:]), rows[0] if rows else "")
            return dataclasses.replace(event, outcome=outcome, text=title, story=rows[1:])
        except Exception as error:
            rows = story.of_text(str(error)) or (type(error).__name__,)
            return dataclasses.replace(event, outcome=Outcome.UNKNOWN, text=rows[0], story=rows[1:])

    # Stages

    def _edits(self) -> tuple[overlay.Overlay, tuple[str, ...]]:
        """What differs from the last commit, by path."""
        repository = self._settings.repository
        files = tuple(repository.changed_paths())
        edits: dict[str, overlay.FileContent | None] = {}
        for path in files:
            place = repository.root / path
            gone = not (place.is_file() or place.is_symlink())
            edits[path] = None if gone else overlay.read(place)
        return edits, files

    def _build(
        self, edits: overlay.Overlay, files: Sequence[str], place: Path
    ) -> tuple[ImageSet, bool]:
        """The image set, and whether what differs made any of it."""
        self._said(Stage.BUILD, "building")
        tree = self._opened()
        wanted = {**self._base, **edits}
        if self._built is not None and self._built[0] == wanted:
            return self._built[1], True
        self._built = None
        tree.lay(wanted, files)
        tree.on_step = lambda step: self._said(Stage.BUILD, f"building {step}")
        images = tree.build(place / "images")
        if not tree.made_of_source:
            return images, False
        self._built = wanted, images, place
        return images, True

    def _opened(self) -> PatchTree:
        repository = self._settings.repository
        head = repository.commit("HEAD")
        if self._tree is not None and head == self._head:
            return self._tree
        self.close()
        limits, said = sandbox.enforced(DEFAULT_LIMITS)
        if said:
            self._say(said)
        settings = self._settings
        self._tree = self._open.enter_context(
            open_patch_tree(
                self._cache,
                CommitTree(repository, head),
                self._progress,
                settings.jobs,
                limits,
                settings.config,
            )
        )
        self._head, self._base = head, self._tree.laid
        self._tree.left_as_it_is = True  # who quits does not want to wait
        with tempfile.TemporaryDirectory(prefix="harness-watch.") as place:
            images = self._tree.unlaid(Path(place))
            baselines = Baselines(self._cache.directory("baselines"), self._say)
            stored = baselines.stored(images)
            took = baselines.seconds(images)
            self._evidence = stored and dataclasses.replace(stored, seconds=took)
        return self._tree

    def _test(self, event: Event, images: ImageSet, place: Path) -> Event:
        order, settings = self._order, self._settings
        chosen = tests.choose(
            settings.select, self._evidence, settings.repository, place, all_tests=order.all_tests
        )
        self._said(Stage.TEST, "booting", total=chosen.count)
        seen: dict[str, CaseResult] = {}

        def on_case(case: CaseResult) -> None:
            seen[case.test] = case
            failed = sum(other.failed for other in seen.values())
            name = case.test.rpartition("::")[2]
            text = f"{name}: {case.outcome}"
            self._said(Stage.TEST, text, len(seen), chosen.count, failed)

        suite = Suite(self._cache.root, place / "cache", str(settings.jobs), on_case=on_case)
        try:
            run = suite.run(
                images,
                place / "suite",
                select=chosen.select,
                stop_after=MOST_FAILURES if order.all_tests else 1,
            )
        finally:
            shutil.rmtree(place / "cache", ignore_errors=True)
        _report(place, run)
        return _judged(event, run)

    # What is said

    def _say(self, text: str) -> None:
        self._said(Stage.BUILD, text.partition("\n")[0])

    def _said(
        self, stage: Stage, text: str, done: int = 0, total: int = 0, failed: int = 0
    ) -> None:
        run, files = self._order.run, self._files
        self._tell(Event(run, stage, text, done, total, failed, files=files))

    def _place(self, run: int) -> Path:
        """A directory for the run; those of much earlier ones go."""
        parent = self._settings.output / "runs"
        place = parent / f"{run:04d}"
        shutil.rmtree(place, ignore_errors=True)  # an earlier watch's
        place.mkdir(parents=True)
        used = {place, self._built[2]} if self._built else {place}
        for old in sorted(parent.iterdir(), key=_changed)[:-KEPT]:
            if old not in used:
                shutil.rmtree(old, ignore_errors=True)
        return place


def _changed(path: Path) -> float:
    """When something was put there last; an earlier watch had the same numbers."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _report(place: Path, run: SuiteResult) -> None:
    """Writes all that is known of the run's tests."""
    rows = []
    for case in sorted(run.cases, key=lambda case: not case.failed):
        rows.append(f"{case.outcome}  {case.seconds:5.1f} s  {case.test}")
        if case.failed:
            rows += ["", case.message, "", f"transcript: {case.artifact}", ""]
    rows += ["", f"pytest's log: {run.log}"]
    (place / "report.txt").write_text(clean("\n".join(rows)) + "\n")


def _judged(event: Event, run: SuiteResult) -> Event:
    ran = [case for case in run.cases if case.ran]
    bad = story.first(ran)
    counted = dataclasses.replace(event, done=len(ran), total=len(ran), failed=len(run.failures))
    if bad is not None:
        outcome = Outcome.FAILED if bad.known else Outcome.UNKNOWN
        rows = story.of_case(bad)
        return dataclasses.replace(
            counted, outcome=outcome, text=rows[0], test=bad.test, story=rows[1:]
        )
    if why := lost(run):
        return dataclasses.replace(counted, outcome=Outcome.UNKNOWN, text=f"{why}; see {run.log}")
    text = f"{len(ran)} tests pass" if len(ran) != 1 else "1 test passes"
    if not ran:
        return dataclasses.replace(counted, outcome=Outcome.NOTHING, text="no test ran")
    return dataclasses.replace(counted, outcome=Outcome.PASSED, text=text)
