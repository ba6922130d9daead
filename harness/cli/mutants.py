# SPDX-License-Identifier: MIT
"""``scripts/mutants``. Exit status: 0 all as it should be, 1 not, 2 bad input, 3 infrastructure."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.kernel_source import DEFAULT
from harness.builders.patch_tree import open_patch_tree
from harness.cli.arguments import positive, shard
from harness.errors import HarnessError, UserError
from harness.host.command import run_command
from harness.host.programs import ROOT
from harness.host.progress import LineProgress
from harness.mutants import patchfile
from harness.mutants.report import Table, as_json, exit_status, summary
from harness.mutants.runner import NotGreen, Result, Runner
from harness.testrun.suite import Suite

JOBS = 2
ARTIFACTS = ROOT / "artifacts" / "mutants"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs; returns the exit status. Errors are one message on standard error."""
    options = _parser().parse_args(argv)
    return run_command(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mutants",
        description="Tests the test suite: puts small faults into kernel, driver, application and"
        " device tree, one at a time, and looks whether a test turns red; harmless changes must"
        " pass.",
    )
    parser.add_argument(
        "--kernel-version", metavar="X.Y", default=DEFAULT, help="default: %(default)s"
    )
    parser.add_argument("--only", metavar="GLOB", action="append", default=[], help="these names")
    parser.add_argument("--sample", metavar="N", type=positive, help="N of them, at random")
    parser.add_argument("--seed", metavar="S", type=int, help="of the sample (it is printed)")
    parser.add_argument(
        "--shard", metavar="I/N", type=shard, default=(1, 1), help="the I-th of N parts"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    parser.add_argument("-n", metavar="WORKERS", type=positive, help="pytest's -n")
    return parser


def _run(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    seed = options.seed if options.seed is not None else random.randrange(1 << 16)
    mutants = patchfile.select(
        patchfile.read_all(), options.only, options.shard, options.sample, seed
    )
    if not mutants:
        raise UserError("no mutant is in this shard")
    if options.json and not options.json.absolute().parent.is_dir():
        raise UserError(f"--json {options.json}: there is no such directory")
    if options.sample:
        print(f"a sample of {len(mutants)} with --seed {seed}", flush=True)
    progress = LineProgress()
    cache = Cache(say=progress.say)
    results: list[Result] = []
    kernel = options.kernel_version
    table = Table(mutants)
    with open_patch_tree(cache, kernel, progress, JOBS) as patch_tree:
        suite = Suite(cache.root, patch_tree.root / "cache", options.n and str(options.n))
        runner = Runner(patch_tree, suite, kernel, ARTIFACTS / kernel, progress.say)
        try:
            runner.check_suite(mutants)
        except NotGreen as error:
            raise HarnessError(str(error)) from error
        print(table.head(), flush=True)
        for result in runner.run(mutants):
            results.append(result)
            print(table.line(result), flush=True)
            _write(options.json, results, kernel=kernel, seed=seed, begun=begun)
    print(f"{summary(results)} (Linux {kernel}, {time.monotonic() - begun:.0f} s)")
    return exit_status(results)


def _write(
    path: Path | None, results: Sequence[Result], *, kernel: str, seed: int, begun: float
) -> None:
    if path is not None:
        seconds = round(time.monotonic() - begun, 1)
        text = json.dumps(as_json(results, kernel=kernel, seed=seed, seconds=seconds), indent=2)
        path.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
