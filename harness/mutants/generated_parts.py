# SPDX-License-Identifier: MIT
"""Generated mutants in parts on an engine, each a run of ``harness mutants --generate``.

Which mutants are worth a test was found out before: their objects differ from each other.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.coverage.record import RECORD
from harness.engine.batch import Item, run_groups
from harness.engine.task import HERE, PYTHON, Done, Engine, Task
from harness.engine.watch import Watch
from harness.mutants.score import SHEET, Fate, Score

PART = 4
PART_SECONDS = 7200.0

Part = tuple[Score, ...]


@dataclasses.dataclass(frozen=True)
class PartSettings:
    """What all parts have in common."""

    kernel: str
    """Debian's version, as 6.1."""
    wanted: tuple[str, ...]
    """The files of the mutants, and functions in them: ``FILE[:FUNCTION]``."""
    coverage: bytes
    """The text of a coverage record: which test executes what."""
    workers: int | None = None
    """The tests' processes; None for pytest's own one."""


def run_generated(
    engine: Engine, scores: Sequence[Score], settings: PartSettings, place: Path, watch: Watch
) -> Iterator[Score]:
    """Each mutant's result once, as they come; `scores` are the mutants, not yet tested.

    What infrastructure left unknown is run once more.
    """
    groups = [tuple(scores[at : at + PART]) for at in range(0, len(scores), PART)]
    items = [
        _item(part, settings, place / f"part-{number}") for number, part in enumerate(groups, 1)
    ]

    def rest(item: Item[Part], left: list[Score]) -> Item[Part]:
        return _item(tuple(left), settings, item.directory)

    yield from run_groups(engine, items, watch, _read, lambda s: s.fate is Fate.UNKNOWN, rest)


def _item(part: Part, settings: PartSettings, directory: Path) -> Item[Part]:
    argv = [PYTHON, "-m", "harness", "mutants", "--kernel", settings.kernel, "--output", HERE]
    argv += [word for name in settings.wanted for word in ("--generate", name)]
    argv += [word for score in part for word in ("--only", score.name)]
    argv += ["--coverage", f"{HERE}/{RECORD}"]
    argv += ["--jobs", str(settings.workers)] if settings.workers else []
    task = Task(
        f"{directory.name} ({part[0].function} …)",
        tuple(argv),
        PART_SECONDS,
        files={RECORD: settings.coverage},
        kernels=(settings.kernel,),
        guests=settings.workers or 1,
        claims=f"patch_tree {settings.kernel}",
        dropped=("unchanged", "objects"),
    )
    return Item(part, task, directory)


def _read(part: Part, done: Done) -> list[Score]:
    """The results of a part; of what it left nothing of, nothing is known."""
    rows: dict[str, Score] = {}
    if not done.trouble:
        try:
            content = json.loads((done.directory / SHEET).read_text())
            for row in content["mutants"]:
                rows[str(row["name"])] = Score(**{**row, "fate": Fate(row["fate"])})
        except (OSError, ValueError, KeyError, TypeError):
            rows = {}
    return [
        rows.get(score.name) or dataclasses.replace(score, fate=Fate.UNKNOWN, message=done.said)
        for score in part
    ]
