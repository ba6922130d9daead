# SPDX-License-Identifier: MIT
"""Many mutants in parts, each a run of ``harness mutants`` of its own, on an engine.

Harmless changes stay together: what passes together is built and tested once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.engine.batch import Item, run_groups
from harness.engine.task import HERE, PYTHON, Done, Engine, Task
from harness.engine.watch import Watch
from harness.mutants.patchfile import Mutant
from harness.mutants.report import RESULTS
from harness.mutants.runner import MutantStatus, Result

PART = 4
"""Mutants of one part: fewer share the load better, more share the check of the suite."""
PART_SECONDS = 7200.0
_UNKNOWN = {MutantStatus.INFRASTRUCTURE, MutantStatus.UNSTABLE}

Part = tuple[Mutant, ...]


def parts(mutants: Sequence[Mutant], size: int = PART) -> list[Part]:
    """Groups that are run together; those that need a kernel, which take longest, are first."""
    faults = [mutant for mutant in mutants if not mutant.harmless]
    faults.sort(key=lambda mutant: not mutant.of_kernel)
    harmless = tuple(mutant for mutant in mutants if mutant.harmless)
    groups = [tuple(faults[at : at + size]) for at in range(0, len(faults), size)]
    return ([harmless] if harmless else []) + groups


def run_parts(
    engine: Engine,
    mutants: Sequence[Mutant],
    kernel: str,
    place: Path,
    watch: Watch,
    workers: int | None = None,
) -> Iterator[Result]:
    """Each mutant's result once, as they come; `workers` are the tests' processes.

    What infrastructure left unknown is run once more.
    """
    for mutant in mutants:
        if not mutant.fits(kernel):
            yield Result(mutant, MutantStatus.OTHER_KERNEL)
    fitting = [mutant for mutant in mutants if mutant.fits(kernel)]
    items = [
        _item(part, kernel, place / f"part-{number}", workers)
        for number, part in enumerate(parts(fitting), 1)
    ]

    def rest(item: Item[Part], left: list[Result]) -> Item[Part]:
        return _item(tuple(result.mutant for result in left), kernel, item.directory, workers)

    yield from run_groups(engine, items, watch, _read, lambda r: r.status in _UNKNOWN, rest)


def _item(part: Part, kernel: str, directory: Path, workers: int | None) -> Item[Part]:
    argv = [PYTHON, "-m", "harness", "mutants", "--kernel", kernel, "--output", HERE]
    argv += [word for mutant in part for word in ("--only", mutant.name)]
    argv += ["--jobs", str(workers)] if workers else []
    task = Task(
        f"{directory.name} ({part[0].name} …)" if len(part) > 1 else part[0].name,
        tuple(argv),
        PART_SECONDS,
        kernels=(kernel,),
        guests=workers or 1,
        claims=f"patch_tree {kernel}",
        dropped=("unchanged",),
    )
    return Item(part, task, directory)


def _read(part: Part, done: Done) -> list[Result]:
    """The results of a part; what it left nothing of is infrastructure."""
    rows = {}
    if not done.trouble:
        try:
            content = json.loads((done.directory / RESULTS).read_text())
            rows = {str(row["name"]): row for row in content["mutants"]}
        except (OSError, ValueError, KeyError, TypeError):
            rows = {}
    return [_result(mutant, rows.get(mutant.name), done) for mutant in part]


def _result(mutant: Mutant, row: dict[str, object] | None, done: Done) -> Result:
    if row is None:
        return Result(mutant, MutantStatus.INFRASTRUCTURE, message=done.said)
    names = {field.name for field in dataclasses.fields(Result)} - {"mutant", "status"}
    values = {name: value for name, value in row.items() if name in names}
    return Result(mutant, MutantStatus(row["status"]), **values)  # type: ignore[arg-type]
