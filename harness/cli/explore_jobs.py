# SPDX-License-Identifier: MIT
"""``harness explore`` with several processes, here or on a cluster: each has a seed of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.builders.kernel_source import DEFAULT
from harness.cli.options import words_of
from harness.engine.batch import Item, run_batch
from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.task import HERE, LOG, PYTHON, Done, Task
from harness.engine.watch import watching
from harness.host.command import INFRASTRUCTURE

SPARE_SECONDS = 1800.0
"""For building, booting and shrinking, beside the time that was asked for."""
SEEDS = 1000
"""Between the seeds of two processes."""
EXAMPLES = "examples"
"""Where Hypothesis keeps what it found, to be tried first the next time."""


def explore_jobs(
    jobs: int,
    minutes: float,
    seed: int,
    place: Path,
    system: Mapping[str, Any],
    cluster: ClusterChoice,
    as_json: bool = False,
) -> int:
    """Runs so many processes; the worst of their exit statuses. `as_json`: standard output is a
    list of the processes' figures.
    """
    place.mkdir(parents=True, exist_ok=True)
    statuses, figures = [], []
    items = [_item(seed + SEEDS * n, minutes, place, system, as_json) for n in range(jobs)]
    lines = sys.stderr if as_json else sys.stdout
    with open_engine(cluster, jobs) as engine, watching(engine, jobs, lines) as watch:
        for item, done in run_batch(engine, items, watch):
            status = INFRASTRUCTURE if done.trouble or done.status < 0 else done.status
            statuses.append(status)
            watch.done(status != 0)
            said = _said(done)
            figures.append({"seed": item.subject, "status": status, **_figures(said)})
            watch.say(f"{item.task.name}: {f'exit status {status}' if as_json else said}")
            for kept in _kept(done.directory, place):
                figures[-1]["found"] = str(kept)
                watch.say(f"again: harness explore --replay {kept}")
    if as_json:
        print(json.dumps(figures, indent=2))
    return next((status for status in (1, 2, 3) if status in statuses), max(statuses))


def _item(
    seed: int, minutes: float, place: Path, system: Mapping[str, Any], as_json: bool
) -> Item[int]:
    argv = [PYTHON, "-m", "harness", "explore", "--jobs", "1", "--minutes", str(minutes)]
    argv += ["--seed", str(seed), "--output", HERE, *words_of(system)]
    argv += ["--json", "--quiet"] if as_json else []
    known = {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted((place / EXAMPLES).rglob("*"))
        if path.is_file()
    }
    # Anything but a version is taken from where it is: all machines must see it.
    kernel = str(system.get("kernel") or DEFAULT)
    ours = kernel[0].isdigit() and not system.get("biscuitos")
    task = Task(
        f"seed {seed}",
        tuple(argv),
        minutes * 60 + SPARE_SECONDS,
        files=known,
        kernels=(kernel,) if ours else (),
        variants=False,
        dropped=("machines", "hypothesis"),
    )
    return Item(seed, task, place / "jobs" / str(seed))


def _said(done: Done) -> str:
    if done.trouble:
        return done.trouble
    return (done.directory / LOG).read_text(errors="replace").strip()


def _figures(said: str) -> dict[str, Any]:
    """What a process printed as JSON, or else its words."""
    with contextlib.suppress(ValueError):
        return dict(json.loads(said))
    return {"error": said}


def _kept(directory: Path, place: Path) -> Iterator[Path]:
    """Puts what a task found where one process would have put it; the sequences among it."""
    for path in sorted((directory / EXAMPLES).rglob("*")):
        to = place / path.relative_to(directory)
        if path.is_file() and not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    for path in sorted(directory.glob("*.json")):
        to = place / path.name
        shutil.copyfile(path, to)
        yield to
