# SPDX-License-Identifier: MIT
"""A directory of patches, each judged by a gate of its own, on an engine."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.engine.batch import Item, run_batch
from harness.engine.task import GUESTS, HERE, PYTHON, Done, Engine, Task
from harness.engine.watch import Watch
from harness.errors import UserError
from harness.gate.inputs import content
from harness.gate.result import Decision
from harness.gate.warm import KEPT
from harness.testrun.result import CaseResult

SECONDS = 7200.0
"""For one patch."""
RESULT = "result.json"
SUMMARY = "queue.json"
BASE = ".base"
"""The task that finds out about the base; a queue's files are not called so."""
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
    """The files of a queue, by name, also what cannot be read: `judge_all` tells that. Raises
    `UserError` where there are none.
    """
    try:
        found = sorted(path for path in directory.iterdir() if path.name[0] != ".")
        # Path.is_dir raises where it may not look.
        found = [path for path in found if not os.path.isdir(path)]  # noqa: PTH112
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

    `kernel` is what has to be built. What infrastructure left undecided is run once more. What the
    tests execute on the base is found out by one task, before the others.
    """
    given: dict[tuple[str, str], bytes] = {}
    for path, name in _named(files):
        try:
            given[path.name, name] = content(path, path.name)
        except UserError as error:
            yield Judged(path.name, Decision.NOT_JUDGED, str(error), place / name)
    if not given:
        return
    known: dict[str, bytes] = {}
    if settings.select is None and not settings.whole:
        known = _warm(engine, kernel, settings, place, watch)
    items = [
        _item(title, name, data, kernel, settings, place, known)
        for (title, name), data in given.items()
    ]

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


def _warm(
    engine: Engine, kernel: str, settings: QueueSettings, place: Path, watch: Watch
) -> dict[str, bytes]:
    """What is known of the base, by file; nothing where that cannot be: each gate tries then."""
    argv = [*_gate(settings), "--warm", "--output", HERE]
    task = _task(BASE, argv, {}, kernel, settings)
    for _, done in run_batch(engine, [Item(BASE, task, place / BASE)], watch):
        if done.status or done.trouble:
            watch.say(f"{BASE}: {done.said}")
            return {}
        found = sorted((done.directory / KEPT).iterdir())
        return {f"{_GIVEN}/{KEPT}/{path.name}": path.read_bytes() for path in found}
    return {}


def _item(
    title: str,
    name: str,
    data: bytes,
    kernel: str,
    settings: QueueSettings,
    place: Path,
    known: Mapping[str, bytes],
) -> Item[str]:
    files = {f"{_GIVEN}/{name}": data, **known}
    argv = [*_gate(settings), f"{HERE}/{_GIVEN}/{name}", "--output", HERE]
    argv += ["--baselines", f"{HERE}/{_GIVEN}/{KEPT}"] if known else []
    argv += ["--whole"] if settings.whole else []
    if settings.select is not None:
        files[f"{_GIVEN}/select"] = settings.select.read_bytes()
        argv += ["--select", f"{HERE}/{_GIVEN}/select"]
    return Item(title, _task(title, argv, files, kernel, settings), place / name)


def _gate(settings: QueueSettings) -> list[str]:
    argv = [PYTHON, "-m", "harness", "gate", "--jobs", GUESTS, *settings.words]
    return [*argv, "--kernel", settings.kernel] if settings.kernel else argv


def _task(
    name: str,
    argv: Sequence[str],
    files: Mapping[str, bytes],
    kernel: str,
    settings: QueueSettings,
) -> Task:
    return Task(
        name,
        tuple(argv),
        SECONDS,
        files=files,
        kernels=(kernel,),
        variants=settings.whole,
        guests=settings.workers,
        claims=f"patch_tree {kernel}",
        dropped=_DROPPED,
    )


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
