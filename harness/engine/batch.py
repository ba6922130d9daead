# SPDX-License-Identifier: MIT
"""Runs a batch of tasks on an engine; what infrastructure left unknown is run once more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from harness.engine.task import Done, Engine, Task
from harness.engine.watch import Watch
from harness.host.retry import ATTEMPTS

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Item(Generic[T]):
    """One of a batch."""

    subject: T
    task: Task
    directory: Path


Again = Callable[[Item[T], Done], Item[T] | None]
"""What is to be run once more after a result; None where it counts."""


def trouble(item: Item[T], done: Done) -> Item[T] | None:
    """Once more only where the cluster failed."""
    return item if done.trouble else None


def run_batch(
    engine: Engine, items: Sequence[Item[T]], watch: Watch, again: Again[T] = trouble
) -> Iterator[tuple[Item[T], Done]]:
    """Each item with its last result, as they come. Names of tasks must differ.

    However it ends, none of them runs on.
    """
    known: dict[str, tuple[Item[T], int]] = {}
    for item in items:
        known[item.task.name] = item, 1
        engine.submit(item.task, item.directory)
    try:
        for done in engine.results(watch.look):
            item, attempt = known.pop(done.task.name)
            more = again(item, done) if attempt < ATTEMPTS else None
            if more is None:
                yield item, done
                continue
            name = f"{more.task.name}/again"
            more = dataclasses.replace(more, task=dataclasses.replace(more.task, name=name))
            known[name] = more, attempt + 1
            watch.say(f"{item.task.name}: once more: {done.said.splitlines()[0]}")
            engine.submit(more.task, more.directory, first=True)
    finally:
        engine.cancel()


def run_groups(
    engine: Engine,
    items: Sequence[Item[T]],
    watch: Watch,
    read: Callable[[T, Done], list[R]],
    unknown: Callable[[R], bool],
    rest: Callable[[Item[T], list[R]], Item[T]],
) -> Iterator[R]:
    """Items with several results each, which `read` finds: each result once, as they come.

    Those that are `unknown` are run once more, as the item that `rest` makes of them. Directories
    must differ.
    """
    known: dict[Path, list[R]] = {item.directory: [] for item in items}

    def again(item: Item[T], done: Done) -> Item[T] | None:
        results = read(item.subject, done)
        left = [result for result in results if unknown(result)]
        if not left:
            return None
        known[item.directory] = [result for result in results if not unknown(result)]
        return rest(item, left)

    for item, done in run_batch(engine, items, watch, again):
        yield from (*known[item.directory], *read(item.subject, done))
