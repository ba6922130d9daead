# SPDX-License-Identifier: MIT
"""A directory of patches, each judged by a gate of its own, on an engine."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.engine.batch import Item, run_batch
from harness.engine.task import GUESTS, HERE, PYTHON, Done, Engine, Task
from harness.engine.watch import Watch
from harness.errors import UserError
from harness.gate.result import Decision
from harness.testrun.result import CaseResult

SECONDS = 7200.0
"""For one patch."""
RESULT = "result.json"
SUMMARY = "queue.json"
_GIVEN = "given"
_DROPPED = ("images", "cache")


@dataclasses.dataclass(frozen=True)
class Judged:
    """What came of one file of the queue."""

    name: str
    decision: Decision
    reason: str
    directory: Path
    seconds: float = 0.0
    host: str = ""


@dataclasses.dataclass(frozen=True)
class QueueSettings:
    """How each of them is judged."""

    kernel: str = ""
    """A version, or the path of a tree that all machines see; empty: the default."""
    words: tuple[str, ...] = ()
    """More options of ``harness gate``."""
    select: Path | None = None
    whole: bool = False
    workers: int = 2


def files_of(directory: Path) -> list[Path]:
    """The files of a queue, by name. Raises `UserError` where there are none."""
    try:
        found = sorted(
            path for path in directory.iterdir() if path.is_file() and path.name[0] != "."
        )
    except OSError as error:
        raise UserError(f"--queue {directory}: {error.strerror}") from error
    if not found:
        raise UserError(f"--queue {directory}: there is no file in it")
    return found


def judge_all(
    engine: Engine,
    files: Sequence[Path],
    kernel: str,
    settings: QueueSettings,
    place: Path,
    watch: Watch,
) -> Iterator[Judged]:
    """Each file's decision once, as they come; what a gate leaves is in ``place/NAME``.

    `kernel` is what has to be built. What infrastructure left undecided is run once more.
    """
    items = [_item(path, name, kernel, settings, place) for path, name in _named(files)]

    def again(item: Item[str], done: Done) -> Item[str] | None:
        return item if _read(item, done).decision is Decision.INFRASTRUCTURE else None

    for item, done in run_batch(engine, items, watch, again):
        yield _read(item, done)


def _named(files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with a name of its own for a directory."""
    taken: set[str] = set()
    for path in files:
        plain = re.sub(r"[^\w.+-]+", "_", path.name)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        yield path, name


def _item(path: Path, name: str, kernel: str, settings: QueueSettings, place: Path) -> Item[str]:
    files = {f"{_GIVEN}/{name}": path.read_bytes()}
    argv = [PYTHON, "-m", "harness", "gate", f"{HERE}/{_GIVEN}/{name}", "--output", HERE]
    argv += ["--jobs", GUESTS, *settings.words]
    argv += ["--kernel", settings.kernel] if settings.kernel else []
    argv += ["--whole"] if settings.whole else []
    if settings.select is not None:
        files[f"{_GIVEN}/select"] = settings.select.read_bytes()
        argv += ["--select", f"{HERE}/{_GIVEN}/select"]
    task = Task(
        path.name,
        tuple(argv),
        SECONDS,
        files=files,
        kernels=(kernel,),
        variants=settings.whole,
        guests=settings.workers,
        claims=f"patch_tree {kernel}",
        dropped=_DROPPED,
    )
    return Item(path.name, task, place / name)


def _read(item: Item[str], done: Done) -> Judged:
    decision, reason = Decision.INFRASTRUCTURE, done.said
    if not done.trouble:
        try:
            content = json.loads((done.directory / RESULT).read_text())
            decision, reason = Decision(content["decision"]), str(content["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            if done.status == Decision.NOT_JUDGED.exit_status:
                decision = Decision.NOT_JUDGED
    return Judged(item.subject, decision, reason, done.directory, done.seconds, done.host)


def case(judged: Judged) -> CaseResult:
    """It as one test."""
    name = f"gate/{judged.name}"
    if judged.decision is Decision.ACCEPTED:
        return CaseResult(name, "passed", message=judged.reason, seconds=judged.seconds)
    if judged.decision is Decision.NOT_JUDGED:
        return CaseResult(name, "skipped", message=judged.reason, seconds=judged.seconds)
    verdict = "product" if judged.decision is Decision.REJECTED else "infrastructure"
    return CaseResult(name, "failed", verdict, judged.reason, judged.seconds, judged.directory)


def line(judged: Judged) -> str:
    """One line for a person."""
    where = f" on {judged.host}" if judged.host else ""
    reason = judged.reason.partition("\n")[0]
    return f"{judged.name:<32} {judged.decision.value:<14} {judged.seconds:5.0f} s{where}  {reason}"


def summary(judged: Sequence[Judged]) -> str:
    """``20 patches: 17 accepted, 3 rejected``."""
    counts = Counter(one.decision for one in judged)
    said = ", ".join(f"{counts[d]} {d.value}" for d in Decision if counts[d])
    return f"{len(judged)} {'patch' if len(judged) == 1 else 'patches'}: {said}"


def as_json(judged: Sequence[Judged]) -> str:
    """The queue's decisions as JSON, by name."""
    rows = [
        {**dataclasses.asdict(one), "decision": one.decision.value, "directory": str(one.directory)}
        for one in sorted(judged, key=lambda one: one.name)
    ]
    return json.dumps({"summary": summary(judged), "patches": rows}, indent=2) + "\n"


def exit_status(judged: Sequence[Judged]) -> int:
    """1 where one is rejected, else 2 where one cannot be judged, else 3 infrastructure, else 0."""
    found = {one.decision.exit_status for one in judged}
    return next((status for status in (1, 2, 3) if status in found), 0)
