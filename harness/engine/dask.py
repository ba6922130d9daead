# SPDX-License-Identifier: MIT
"""The engine of a cluster: tasks go to workers of Dask, builds are made once and moved.

Only as many tasks as the workers can run are given to Dask at a time. What a lost worker had is run
by another one; a result is taken once. Where the scheduler is lost, the engine waits for it to come
back, and asks again for what it has no result of.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.builders.tier import ENVIRONMENT as CACHE_URL
from harness.engine.balance import Balance
from harness.engine.builds import BuildPlan
from harness.engine.connection import GUESTS, TREES, Connection
from harness.engine.identity import identity
from harness.engine.member import Member, Takes
from harness.engine.pack import unpack
from harness.engine.task import Done, State, Task
from harness.errors import HarnessError
from harness.plaintext import clean

POLL_SECONDS = 0.5
MEMBERS_SECONDS = 2.0
WORKER_WAIT = 60.0
"""Seconds to wait for the first worker that can be used."""
PATIENCE = 600.0
"""Seconds to wait for a worker, or for the scheduler, that was lost."""
CARRIED = (CACHE_URL,)
"""Variables of who asks that count on the workers too. How they confine is for them to say."""
TRIES = 4
"""How often a task is given to the cluster, where the cluster and not the task is at fault."""


@dataclasses.dataclass(eq=False)
class _Work:
    task: Task
    directory: Path
    tries: int = 0
    avoid: set[str] = dataclasses.field(default_factory=set)
    future: Any = None
    takes: Takes = dataclasses.field(default=Takes(1, 0))
    built: list[Any] = dataclasses.field(default_factory=list)
    """The builds that it needs."""


class DaskEngine:
    """See the module's text."""

    def __init__(
        self,
        connection: Connection,
        patience: float = PATIENCE,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Raises `HarnessError` where no worker can be used."""
        self._connection = connection
        self._patience = patience
        self._say = say or _say
        self._run = secrets.token_hex(4)
        self._count = 0
        self._waiting: list[_Work] = []
        self._flying: dict[str, _Work] = {}
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._builds = BuildPlan(connection)
        self._members: list[Member] = []
        self._balance = Balance()
        self._looked = 0.0
        self._refused: set[str] = set()
        try:
            self._wait_for_worker(WORKER_WAIT)
        except BaseException:
            connection.close()
            raise

    # Workers

    def _fit(self) -> list[Member]:
        return [member for member in self._members if not member.refused and member.guests]

    def _look(self) -> bool:
        """Asks now and then which workers there are; whether it did."""
        if time.monotonic() - self._looked < MEMBERS_SECONDS:
            return False
        self._looked = time.monotonic()
        self._members = self._connection.members()
        for member in self._members:
            if member.refused and member.address not in self._refused:
                self._refused.add(member.address)
                self._say(f"worker {member.name} ({member.address}) is refused: {member.refused}")
        return True

    def _wait_for_worker(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self._looked = 0.0
            if self._connection.lost:
                self._reconnect()
            self._look()
            if self._fit():
                return
            if time.monotonic() >= end:
                refused = len(self._members)
                what = f"; {refused} are refused" if refused else ""
                raise HarnessError(
                    f"no worker of {self._connection.address} can be used, after"
                    f" {seconds:.0f} s{what}; start some with `harness cluster worker`"
                )
            time.sleep(0.2)

    def _reconnect(self) -> None:
        self._say(f"the scheduler at {self._connection.address} is lost: waiting for it")
        self._connection.again(self._patience)
        self._builds.forget()
        for work in self._flying.values():
            work.future = None
        self._waiting = [*self._flying.values(), *self._waiting]
        self._flying.clear()
        self._looked = 0.0
        self._say("the scheduler is there again")

    # Tasks

    def submit(self, task: Task, directory: Path, *, first: bool = False) -> None:
        """See `Engine`."""
        self._waiting.insert(0 if first else len(self._waiting), _Work(task, directory))

    def results(self, look: Callable[[], None] = lambda: None) -> Iterator[Done]:
        """See `Engine`."""
        while self._waiting or self._flying:
            if self._connection.lost:
                self._reconnect()
            if self._look():
                self._move_waiting()
            if not self._fit():
                self._say("no worker is left: waiting for one")
                self._wait_for_worker(self._patience)
            self._send()
            look()
            try:
                future = self._came.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            work = self._flying.get(future.key)
            if work is None or work.future is not future:
                continue  # of a scheduler that was lost, or taken back
            done = self._done(work, future)
            if done is not None:
                yield done

    def _send(self) -> None:
        """Gives the cluster as much as it can run."""
        room = sum(member.guests for member in self._fit())
        room -= sum(self._guests(work.task) for work in self._flying.values())
        while self._waiting and (room >= self._guests(self._waiting[0].task) or not self._flying):
            work = self._waiting.pop(0)
            room -= self._guests(work.task)
            self._give(work)

    def _move_waiting(self) -> None:
        """Takes back what waits on a busy worker, and gives it to one that has room."""
        running = {key for member in self._members for key in member.running}
        ready = {
            key: work
            for key, work in self._flying.items()
            if key not in running and all(build.status == "finished" for build in work.built)
        }
        if not ready:
            return
        try:
            assigned = self._connection.assigned()
        except HarnessError:
            return  # the next look tells
        for key, to in self._balance.moves(ready, assigned, self._fit()):
            work = self._flying.pop(key)
            self._connection.client.cancel([work.future], force=True)
            work.tries -= 1
            self._give(work, to)

    def _guests(self, task: Task) -> int:
        """What a task asks for, and a worker can have."""
        return max(1, min(task.guests, max(member.guests for member in self._fit())))

    def _give(self, work: _Work, to: str = "") -> None:
        """`to`: the worker that had best run it; empty: for Dask to choose."""
        from harness.engine.worker import run_task

        task = work.task
        self._count += 1
        work.tries += 1
        work.takes = Takes(self._guests(task), task.trees)
        needed = {identity().resource: 1, GUESTS: work.takes.guests}
        if work.takes.trees:
            needed[TREES] = work.takes.trees
        carried = {name: os.environ[name] for name in CARRIED if name in os.environ}
        environment = {**carried, **task.environment}
        others = [m.address for m in self._fit() if m.address not in work.avoid]
        best = [to] if to else others if work.avoid else []
        work.built = [self._builds.future(kernel, task.variants) for kernel in task.kernels]
        work.future = self._connection.client.submit(
            run_task,
            dataclasses.replace(task, environment=environment, guests=work.takes.guests),
            identity().resource,
            *work.built,
            key=f"task-{self._run}-{self._count}-{task.name}",
            pure=False,
            resources=needed,
            workers=best or None,
            allow_other_workers=bool(best),
        )
        self._flying[work.future.key] = work
        work.future.add_done_callback(self._came.put)

    def _done(self, work: _Work, future: Any) -> Done | None:
        """What came of a task that is not run any more; None where it is run once more."""
        from harness.engine.worker import Unfit, Withdrawn

        del self._flying[future.key]
        if future.status == "finished":
            try:
                outcome = future.result()
            except Exception as lost:  # its worker went away with it
                return self._again(work, lost)
            here = unpack(outcome.files, work.directory, outcome.here)
            return Done(
                work.task,
                here,
                outcome.status,
                outcome.seconds,
                outcome.late,
                host=outcome.host,
            )
        error = future.exception() if future.status == "error" else None
        if isinstance(error, Unfit):
            work.avoid.add(error.address)
        if error is None or isinstance(error, Unfit | Withdrawn):
            return self._again(work, error)
        return Done(work.task, work.directory, trouble=_why(error))

    def _again(self, work: _Work, error: BaseException | None) -> Done | None:
        if work.tries >= TRIES:
            why = _why(error) if error else "the cluster lost it"
            return Done(work.task, work.directory, trouble=f"{why} ({work.tries} tries)")
        work.future = None
        self._waiting.insert(0, work)
        return None

    def cancel(self) -> None:
        """See `Engine`."""
        self._waiting.clear()
        flying = [work.future for work in self._flying.values() if work.future is not None]
        self._flying.clear()
        if flying and not self._connection.lost:
            self._connection.client.cancel(flying, force=True)

    def state(self) -> State:
        """See `Engine`."""
        names = tuple(work.task.name for work in self._flying.values())
        fit = self._fit()
        slots = sum(member.guests for member in fit)
        return State(names, len(self._waiting), len(fit), slots)

    def build(self, kernels: tuple[str, ...]) -> Mapping[str, str]:
        """See `Engine`."""
        while True:
            try:
                return self._builds.wait(kernels, self._say)
            except HarnessError:
                if not self._connection.lost:
                    raise
                self._reconnect()
                self._wait_for_worker(self._patience)

    def __enter__(self) -> DaskEngine:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.cancel()
        finally:
            self._connection.close()


def _say(text: str) -> None:
    # Standard output may be one JSON document.
    print(clean(text), file=sys.stderr, flush=True)


def _why(error: BaseException) -> str:
    """One of Dask's errors, or a worker's, for a person."""
    if isinstance(error, HarnessError):
        return str(error)
    return f"the cluster failed: {type(error).__name__}: {error}"
