# SPDX-License-Identifier: MIT
"""``harness mutants --generate``: mutants by rule, and the score of the suite on them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TextIO

from harness.builders.cache import Cache
from harness.builders.kept_trees import open_patch_tree
from harness.builders.kernel import make_words
from harness.builders.patch_tree import PatchTree
from harness.builders.process import first_error
from harness.coverage.record import RECORD, CoverageRecord, read
from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.watch import watching
from harness.errors import HarnessError, UserError
from harness.gate.baseline import Baselines, tests_digest
from harness.host import project
from harness.host.output import claim, set_aside
from harness.host.process import capture
from harness.host.progress import LineProgress
from harness.mutants.generated import Campaign, Choice, Source
from harness.mutants.generated_parts import PartSettings, run_generated
from harness.mutants.objects import Compiler
from harness.mutants.operators import Change, changes
from harness.mutants.score import SHEET, Fate, Score, Sheet, line, table
from harness.testrun.suite import Suite

MAKE_JOBS = 2
DRIVER = "images/module/cma.c"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be tested, and where."""

    kernel: str
    """Debian's version."""
    files: tuple[str, ...]
    """``FILE[:FUNCTION]``."""
    only: tuple[str, ...] = ()
    """Names of mutants, or globs of such; none: all."""
    sample: int | None = None
    seed: int = 0
    coverage: Path | None = None
    jobs: int | None = None
    at_once: int = 1
    """Mutants at once on this machine, where no cluster is given."""
    cluster: ClusterChoice = dataclasses.field(default_factory=ClusterChoice)

    @property
    def in_parts(self) -> bool:
        """Whether an engine runs them."""
        return bool(self.cluster.address) or self.at_once > 1


def run(wanted: Wanted, place: Path, as_json: bool) -> int:
    """Makes mutants of ``FILE[:FUNCTION]``, tests a sample of them, and prints the score.

    Returns 0, 1 where one survived, 3 where something is not known of one.
    """
    progress = LineProgress()
    cache = Cache(say=progress.say)
    record = read(wanted.coverage) if wanted.coverage is not None else None
    claim(place)
    out = sys.stderr if as_json else sys.stdout
    with open_patch_tree(cache, wanted.kernel, progress, MAKE_JOBS) as tree:
        tmp = place / "objects"
        shutil.rmtree(tmp, ignore_errors=True)
        sources, made = _sources(tree, wanted.files, tmp)
        made = matching(made, wanted.only)
        suite = Suite(cache.root, tree.root / "cache", str(wanted.jobs) if wanted.jobs else None)
        release = tree.kernel.release
        digests = {one.file: one.digest for one in sources}
        sheet = Sheet.open(place / SHEET, release, digests, tests_digest())
        if record is None:
            record = _recorded(cache, tree, place, wanted.jobs, progress)
        choice = Choice(record, list(record.tests))
        campaign = Campaign(
            tree, suite, choice, sheet, place, progress.say, tests=not wanted.in_parts
        )
        if not wanted.in_parts:
            campaign.prepare()
        print(f"{len(made)} mutants, --seed {wanted.seed}, Linux {release}", file=out, flush=True)
        for score in campaign.run(sources, made, wanted.sample, wanted.seed):
            if score.fate is not Fate.UNKNOWN or not wanted.in_parts:
                print(line(score), file=out, flush=True)
    if wanted.in_parts:
        _in_parts(wanted, sheet, record, place, out)
    names = {change.name for change in made}
    scores = [score for score in sheet.scores.values() if score.name in names]
    print(json.dumps(sheet.as_json(), indent=1) if as_json else table(scores))
    return status(scores)


def _in_parts(
    wanted: Wanted, sheet: Sheet, record: CoverageRecord, place: Path, out: TextIO
) -> None:
    """Has an engine test what the sheet has as unknown."""
    set_aside(place, ("part-*",))
    record.write(place / RECORD)
    coverage = (place / RECORD).read_bytes()
    settings = PartSettings(wanted.kernel, wanted.files, coverage, wanted.jobs)
    left = [score for score in sheet.scores.values() if score.fate is Fate.UNKNOWN]
    with (
        open_engine(wanted.cluster, wanted.at_once, shares=wanted.at_once) as engine,
        watching(engine, len(left), out) as watch,
    ):
        for score in run_generated(engine, left, settings, place, watch):
            sheet.add(score)
            watch.done(score.fate in (Fate.SURVIVED, Fate.UNKNOWN))
            print(line(score), file=out, flush=True)


def matching(made: list[Change], only: Sequence[str]) -> list[Change]:
    """Those of these names, or of names that these globs fit; all for none.

    Raises `UserError` for one that fits none.
    """
    names = {change.name for change in made}
    taken: set[str] = set()
    for glob in only:
        found = {glob} & names or {name for name in names if fnmatchcase(name, glob)}
        if not found:
            raise UserError(f"--only {glob}: no mutant of these files is called so")
        taken |= found
    return [change for change in made if not only or change.name in taken]


def status(scores: Sequence[Score]) -> int:
    """The exit status for these results."""
    fates = {score.fate for score in scores}
    return 1 if Fate.SURVIVED in fates else 3 if Fate.UNKNOWN in fates else 0


def _sources(
    tree: PatchTree, wanted: Sequence[str], tmp: Path
) -> tuple[list[Source], list[Change]]:
    sources: dict[str, Source] = {}
    made: dict[str, Change] = {}
    for text in wanted:
        file, _, function = text.partition(":")
        if file not in sources:
            work = tmp / file.replace("/", "_")
            work.mkdir(parents=True)
            sources[file] = _source(tree, file, work)
        found = changes(sources[file].text, file, function or "*")
        made |= {change.name: change for change in found}
    return list(sources.values()), list(made.values())


def _source(tree: PatchTree, file: str, work: Path) -> Source:
    if file.startswith("images/"):
        if file != DRIVER:
            raise UserError(f"--generate {file}: of images/ only {DRIVER} can be changed by rule")
        return Source(file, (project.IMAGES.parent / file).read_bytes(), _driver(tree, work))
    path = tree.kernel.tree / file
    if not path.is_file() or path.suffix != ".c":
        raise UserError(f"--generate {file}: the kernel has no such C file")
    made = str(Path(file).with_suffix(".o"))
    if not (tree.kernel.obj / made).is_file():
        raise UserError(
            f"--generate {file}: Linux {tree.kernel.release}, configured as it is here, is built"
            " without it: no test could notice a change"
        )
    return Source(file, path.read_bytes(), Compiler(tree.kernel.obj, made, work))


def _driver(tree: PatchTree, work: Path) -> Compiler:
    """Builds the driver once, for the command that kbuild makes it by."""
    module = work / "module"
    shutil.copytree(project.IMAGES / "module", module)
    argv = [*make_words(tree.kernel.tree, MAKE_JOBS), f"M={module}", "modules"]
    status, said, errors = capture(argv)
    if status != 0:
        text = (said + errors.encode()).decode(errors="replace")
        raise HarnessError(f"the driver does not build\n{first_error(text)}")
    return Compiler(tree.kernel.obj, str(module / "cma.o"), work)


def _recorded(
    cache: Cache, tree: PatchTree, place: Path, jobs: int | None, progress: LineProgress
) -> CoverageRecord:
    """What each test executes on the system as it is: as the gate keeps it, or from a run now."""
    suite = Suite(cache.root, place / "cache", str(jobs) if jobs else None)
    images = tree.build(place / "images")
    baselines = Baselines(cache.directory("baselines"), progress.say)
    found, _ = baselines.evidence(suite, images, place / "traced")
    if found is None:
        raise HarnessError(f"what the tests execute cannot be told; see {place / 'traced'}")
    return found.lines
