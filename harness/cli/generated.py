# SPDX-License-Identifier: MIT
"""``harness mutants --generate``: mutants by rule, and the score of the suite on them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.kernel import make_words
from harness.builders.patch_tree import PatchTree, open_patch_tree
from harness.builders.process import first_error
from harness.coverage.record import CoverageRecord, read
from harness.errors import HarnessError, UserError
from harness.gate.baseline import Baselines
from harness.host import project
from harness.host.output import claim
from harness.host.process import capture
from harness.host.progress import LineProgress
from harness.mutants.generated import Campaign, Choice, Source
from harness.mutants.objects import Compiler
from harness.mutants.operators import Change, changes
from harness.mutants.score import Fate, Score, Sheet, line, table
from harness.testrun.suite import Suite

SHEET = "generated.json"
"""Where the results are, in the directory of a run."""
MAKE_JOBS = 2
DRIVER = "images/module/cma.c"


def run(
    kernel: str,
    wanted: Sequence[str],
    sample: int | None,
    seed: int,
    coverage: Path | None,
    place: Path,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Makes mutants of ``FILE[:FUNCTION]``, tests a sample of them, and prints the score.

    Returns 0, 1 where one survived, 3 where something is not known of one.
    """
    progress = LineProgress()
    cache = Cache(say=progress.say)
    record = read(coverage) if coverage is not None else None
    claim(place)
    out = sys.stderr if as_json else sys.stdout
    with open_patch_tree(cache, kernel, progress, MAKE_JOBS) as tree:
        tmp = place / "objects"
        shutil.rmtree(tmp, ignore_errors=True)
        sources, made = _sources(tree, wanted, tmp)
        suite = Suite(cache.root, tree.root / "cache", str(jobs) if jobs else None)
        release = tree.kernel.release
        sheet = Sheet.open(place / SHEET, release, {one.file: one.digest for one in sources})
        if record is None:
            record = _recorded(cache, tree, place, jobs, progress)
        campaign = Campaign(
            tree, suite, Choice(record, list(record.tests)), sheet, place, progress.say
        )
        campaign.prepare()
        print(f"{len(made)} mutants, --seed {seed}, Linux {release}", file=out, flush=True)
        for score in campaign.run(sources, made, sample, seed):
            print(line(score), file=out, flush=True)
    names = {change.name for change in made}
    scores = [score for score in sheet.scores.values() if score.name in names]
    print(json.dumps(sheet.as_json(), indent=1) if as_json else table(scores))
    return status(scores)


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
