# SPDX-License-Identifier: MIT
"""What the first gate on a base needs beside its patch: the base's build, and what each test
executes there. Made ahead, and once for a whole queue.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.kept_trees import open_patch_tree
from harness.errors import HarnessError
from harness.gate.baseline import Baselines
from harness.gate.options import Options
from harness.host.output import claim, set_aside
from harness.host.progress import Progress
from harness.imageset.linetable import TRACED
from harness.imageset.model import ImageSet
from harness.testrun.suite import Suite

KEPT = "baselines"
"""In the output directory: what is known of the base, for another machine's cache."""


def make_ready(options: Options, cache: Cache, progress: Progress) -> tuple[ImageSet, int]:
    """Builds the base of gates with `options`, and runs all tests there where that is not kept;
    the base, and of how many tests it is known what they execute.

    Raises `UserError` for a base that cannot be used, `HarnessError` where nothing can be known.
    """
    out = options.output
    claim(out)
    set_aside(out, (KEPT, "suite"), ("images", "cache"))
    with open_patch_tree(
        cache, options.base, progress, options.workers, options.limits, options.config
    ) as shop:
        base = shop.build(out / "images" / "base")
    baselines = Baselines(cache.directory("baselines"), progress.say, options.baselines)
    known = learn(baselines, cache, base, options.workers, out)
    baselines.copy(base, out / KEPT)
    shutil.rmtree(out / "cache", ignore_errors=True)
    return base, known


def learn(baselines: Baselines, cache: Cache, base: ImageSet, workers: int, out: Path) -> int:
    """Sees to it that it is kept what each test executes on a base; of how many it is known.

    Raises `HarnessError` where that cannot be.
    """
    suite = Suite(cache.root, out / "cache", str(workers), TRACED)
    place = out / "suite" / "base"
    evidence, _ = baselines.evidence(suite, base, place)
    if evidence is None:
        raise HarnessError(f"what the tests execute on the base cannot be known; see {place}")
    baselines.results(suite, base, evidence.every, place)
    return len(evidence.every)
