# SPDX-License-Identifier: MIT
"""``harness mutants``. Exit status: 0 all as it should be, 1 not, 2 bad input, 3 infrastructure."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from harness.builders.cache import Cache
from harness.builders.kept_trees import open_patch_tree
from harness.builders.kernel_source import DEFAULT, NEWEST, resolve
from harness.cli import generated, options
from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.watch import watching
from harness.errors import HarnessError, UserError
from harness.gate.baseline import Baselines
from harness.host.files import write_text
from harness.host.output import claim, set_aside
from harness.host.programs import check_installed
from harness.host.progress import LineProgress
from harness.host.project import ARTIFACTS
from harness.imageset.model import ImageSet
from harness.mutants import patchfile
from harness.mutants.parts import run_parts
from harness.mutants.report import RESULTS, ResultTable, exit_status, summary
from harness.mutants.report import as_json as results_as_json
from harness.mutants.runner import GOOD, NotGreen, Result, Runner
from harness.mutants.selected import Chooser
from harness.testrun.suite import Suite

MAKE_JOBS = 2


@click.command(epilog="Exit status: 0 all as it should be, 1 not, 2 bad input, 3 infrastructure.")
@options.kernel("The kernel that is changed: Debian's version (default: 6.1).")
@click.option(
    "--generate",
    metavar="FILE[:FUNCTION]",
    multiple=True,
    help="Make mutants of this file of the kernel, or of images/module/cma.c, by rule.",
)
@click.option(
    "--coverage",
    metavar="FILE",
    type=options.PATH,
    help="With --generate: which test executes what (default: found out once, and kept).",
)
@click.option("--only", metavar="GLOB", multiple=True, help="The mutants of these names.")
@click.option("--sample", metavar="N", type=options.POSITIVE, help="N of them, at random.")
@click.option("--seed", metavar="S", type=options.SEED, help="Of the sample (it is printed).")
@click.option(
    "--shard", metavar="I/N", type=options.Shard(), default=(1, 1), help="The I-th of N parts."
)
@click.option(
    "--selected", is_flag=True, help="Run the tests that a gate would choose, and compare."
)
@options.output("Where logs and results go (default: artifacts/mutants/KERNEL).")
@options.jobs("The tests' processes (default: pytest's own one).", None)
@click.option(
    "--at-once",
    metavar="N",
    type=options.POSITIVE,
    default=1,
    help="So many mutants at once on this machine, each in a tree of its own (2 GB).",
)
@options.cluster
@options.as_json("Print the results as JSON at the end.")
@options.unconfined
@options.debug
def command(
    kernel: str | Path | None,
    generate: tuple[str, ...],
    coverage: Path | None,
    only: tuple[str, ...],
    sample: int | None,
    seed: int | None,
    shard: tuple[int, int],
    selected: bool,
    output: Path | None,
    jobs: int | None,
    at_once: int,
    cluster: ClusterChoice,
    as_json: bool,
) -> int:
    """Test the test suite.

    Small faults are put into kernel, driver, application and device tree, one at a time, and a
    test must turn red; harmless changes must pass.

    With --generate they are made by rule, and the score says which the suite notices, of those that
    change the object and are executed. What is known is kept in the output directory: the same
    command goes on from there.
    """
    if isinstance(kernel, Path):
        raise UserError(f"--kernel {kernel}: mutants are for Debian's versions, such as 6.1")
    version = resolve(NEWEST, Cache()).label if kernel == NEWEST else kernel or DEFAULT
    if generate:
        if shard != (1, 1) or selected:
            raise UserError("--shard and --selected go without --generate")
        files = tuple(generate)
        wanted = generated.Wanted(
            version, files, only, sample, seed or 0, coverage, jobs, at_once, cluster
        )
        default = ARTIFACTS / "mutants" / f"generated-{version}"
        return generated.run(wanted, (output or default).absolute(), as_json)
    if coverage is not None:
        raise UserError("--coverage goes with --generate")
    seed = seed if seed is not None else random.randrange(1 << 16)
    every = patchfile.read_all(kernel=version)
    mutants = patchfile.select(every, only, shard, sample, seed)
    if not mutants:
        raise UserError("no mutant is in this shard")
    check_installed()
    place = (output or ARTIFACTS / "mutants" / version).absolute()
    table = ResultTable(mutants)
    lines = sys.stderr if as_json else sys.stdout
    if sample:
        print(f"a sample of {len(mutants)} with --seed {seed}", file=lines, flush=True)
    begun = time.monotonic()
    results: list[Result] = []
    if cluster.address or at_once > 1:
        if selected:
            raise UserError("--selected: give it without --cluster and --at-once")
        found = _in_parts(version, mutants, place, jobs, at_once, cluster, lines)
    else:
        found = _results(version, mutants, place, jobs, selected)
    for result in found:
        if not results:
            print(table.head(), file=lines, flush=True)
        results.append(result)
        print(table.line(result), file=lines, flush=True)
        document = _document(results, version, seed, begun)
        write_text(place / RESULTS, document)
    if as_json:
        print(document, end="")
    seconds = time.monotonic() - begun
    print(f"{summary(results)} (Linux {version}, {seconds:.0f} s)", file=lines)
    return exit_status(results)


def _results(
    kernel: str,
    mutants: Sequence[patchfile.Mutant],
    place: Path,
    jobs: int | None,
    selected: bool,
) -> Iterator[Result]:
    progress = LineProgress()
    cache = Cache(say=progress.say)
    claim(place)
    with open_patch_tree(cache, kernel, progress, MAKE_JOBS) as patch_tree:
        suite = Suite(cache.root, patch_tree.root / "cache", str(jobs) if jobs else None)
        baselines = Baselines(cache.directory("baselines"), progress.say)

        def choose(images: ImageSet) -> Chooser:
            found, _ = baselines.evidence(suite, images, place / "base")
            if found is None:
                raise HarnessError("what each test executes is not known: nothing can be chosen")
            return Chooser(found, images)

        runner = Runner(
            patch_tree, suite, kernel, place, progress.say, choose if selected else None
        )
        try:
            runner.check_suite(mutants)
        except NotGreen as error:
            raise HarnessError(str(error)) from error
        yield from runner.run(mutants)


def _in_parts(
    kernel: str,
    mutants: Sequence[patchfile.Mutant],
    place: Path,
    jobs: int | None,
    at_once: int,
    cluster: ClusterChoice,
    lines: TextIO,
) -> Iterator[Result]:
    claim(place)
    set_aside(place, ("part-*",))
    with (
        open_engine(cluster, at_once, shares=at_once) as engine,
        watching(engine, len(mutants), lines) as watch,
    ):
        for result in run_parts(engine, mutants, kernel, place, watch, jobs):
            watch.done(result.status not in GOOD)
            yield result


def _document(results: Sequence[Result], kernel: str, seed: int, begun: float) -> str:
    seconds = round(time.monotonic() - begun, 1)
    content = results_as_json(results, kernel=kernel, seed=seed, seconds=seconds)
    return json.dumps(content, indent=2) + "\n"
