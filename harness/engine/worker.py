# SPDX-License-Identifier: MIT
"""What a worker of the cluster does: runs tasks as processes, and gives finished builds to others.

Dask loads this module into each worker (``preload``). A task that Dask takes back, because it was
cancelled or who asked for it is gone, ends with all its processes; so do all when the worker does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from harness.builders.cache import BuildDirectory, Cache
from harness.builders.kept_trees import TREES
from harness.builders.key import Key
from harness.builders.manifest import read_manifest
from harness.engine import buildjob, peers
from harness.engine.identity import identity
from harness.engine.member import WORKER_NAME, Takes
from harness.engine.pack import pack
from harness.engine.process import TaskProcess
from harness.engine.task import LAST_LINES, LOG, Task
from harness.errors import BuildError, HarnessError
from harness.host.locking import FileLock

ROOM = 512 << 20
"""Bytes that must be free before a task is begun."""
_PREFIX, _LOCK = "harness-worker-", "lock"
_POLL_SECONDS = 0.05
_END_SECONDS = 30.0
_MOST_TREES = 64


class Unfit(HarnessError):
    """This worker cannot run the task; another one may."""

    address = ""
    """Of the worker."""


class Withdrawn(HarnessError):
    """Dask took the task back."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a task on a worker."""

    status: int
    seconds: float
    late: bool
    host: str
    here: str
    """Where it ran: a path that its files may name."""
    files: bytes
    """Packed, see `harness.engine.pack`."""


@dataclasses.dataclass(frozen=True)
class Built:
    """The entries of the cache that an image set is made of."""

    keys: tuple[tuple[str, Mapping[str, str]], ...]
    address: str
    """The worker that has them first."""
    host: str


class HarnessPlugin(WorkerPlugin):
    """A worker's part that is ours."""

    name = WORKER_NAME

    def __init__(self) -> None:
        self._withdrawn: dict[str, threading.Event] = {}
        self._running: dict[str, Takes] = {}
        self._idle = threading.Condition()
        self.fetching = threading.Lock()
        self.place = Path()
        self.packed: peers.Packed | None = None
        self._lock: FileLock | None = None

    def setup(self, worker: Worker) -> None:
        """Dask's hook."""
        remove_left(Path(tempfile.gettempdir()))
        self.place, self._lock = make_place(Path(tempfile.gettempdir()))
        self.packed = peers.Packed(self.place / "packed")
        worker.handlers[peers.OPERATION] = self.packed.piece
        worker.metrics[WORKER_NAME] = self.running

    def transition(self, key: Any, start: str, finish: str, **_more: Any) -> None:
        """Dask's hook: a task that is executed and neither done nor failed is not wanted."""
        if finish in ("cancelled", "released", "forgotten"):
            event = self._withdrawn.get(str(key))
            if event is not None:
                event.set()

    async def teardown(self, worker: Worker) -> None:
        """Dask's hook: ends all that runs."""
        for event in list(self._withdrawn.values()):
            event.set()
        await asyncio.to_thread(self._wait)
        self.remove()

    def remove(self) -> None:
        """Removes its directory; Dask tears down no worker that is ended while it connects."""
        if self._lock is not None:
            self._lock.close()
            shutil.rmtree(self.place, ignore_errors=True)

    def _wait(self) -> None:
        with self._idle:
            self._idle.wait_for(lambda: not self._withdrawn, _END_SECONDS)

    def running(self, _worker: Worker) -> dict[str, Takes]:
        """The keys of what runs here, and what each takes. A metric: Dask takes it along with each
        heartbeat.
        """
        return dict(self._running)

    @contextlib.contextmanager
    def task(self, key: str, takes: Takes) -> Iterator[threading.Event]:
        """While the task `key` runs; what it yields is set when Dask takes it back."""
        event = self._withdrawn[key] = threading.Event()
        self._running[key] = takes
        try:
            yield event
        finally:
            with self._idle:
                self._withdrawn.pop(key, None)
                self._running.pop(key, None)
                self._idle.notify_all()


def make_place(directory: Path) -> tuple[Path, FileLock]:
    """A new directory for what a worker makes, and the lock that keeps others from removing it."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
        lock = FileLock(place / _LOCK)
        try:
            lock.exclusive()
        except FileNotFoundError:
            # Another worker, which starts just now, held it for one that was left.
            lock.close()
            continue
        return place, lock


def remove_left(directory: Path) -> None:
    """Removes what workers left there that were killed: nobody holds its lock."""
    for path in directory.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), FileLock(path) as lock:
            if lock.try_exclusive():
                shutil.rmtree(path.parent, ignore_errors=True)


async def dask_setup(worker: Worker) -> None:
    """Dask calls it where this module is named in ``preload``."""
    await worker.plugin_add(HarnessPlugin(), name=WORKER_NAME)


def _here() -> tuple[Worker, HarnessPlugin, str]:
    worker = get_worker()
    plugin = worker.plugins[WORKER_NAME]
    assert isinstance(plugin, HarnessPlugin)
    return worker, plugin, str(worker.get_current_task())


def run_task(task: Task, wanted: str, *built: Built) -> Outcome:
    """Runs a task on this worker, with `built` in its cache; `wanted` is who may ask.

    Raises `Unfit`, `Withdrawn`.
    """
    worker, plugin, key = _here()
    _check(wanted)
    with plugin.task(key, Takes(task.guests, task.trees)) as withdrawn:
        for each in built:
            take_over(worker, plugin, each)
        return _run(task, plugin, withdrawn)


def run_build(kernel: str, slug: str, task: Task, wanted: str, *before: Built) -> Built:
    """Builds a kernel's image set here, or finds it; `slug` is the kernel's entry, as who asks has
    it (empty: no kernel, only what all of them need).

    Raises `Unfit`, `Withdrawn`, `BuildError`.
    """
    worker, plugin, key = _here()
    _check(wanted)
    with plugin.task(key, Takes(1, 0)) as withdrawn:
        for each in before:
            take_over(worker, plugin, each)
        directory = _directory(plugin)
        try:
            process = _follow(task, directory, withdrawn)
            if process.status:
                lines = (directory / LOG).read_text(errors="replace").splitlines()
                raise BuildError(_told(lines))
            slugs = json.loads((directory / buildjob.ENTRIES).read_text())
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    if slug and slug not in slugs:
        raise _unfit(f"{_host()} makes another kernel of {kernel} than who asks: it is no {slug}")
    return Built(tuple(map(_key, slugs)), worker.address, _host())


def _told(lines: list[str]) -> str:
    """What a build said at its end: the last line first, which says why."""
    last = lines[-1].removeprefix("error: ") if lines else "the build said nothing"
    return "\n".join([f"on {_host()}: {last}", *lines[-LAST_LINES:-1]])


def _key(slug: str) -> tuple[str, Mapping[str, str]]:
    content = read_manifest(Cache().root / "entries" / slug)
    return str(content["name"]), dict(content["inputs"])


def take_over(worker: Worker, plugin: HarnessPlugin, built: Built) -> None:
    """Puts the entries of a build into this machine's cache, where they are missing.

    Raises `HarnessError` where nobody has one, or it is refused.
    """
    cache = Cache()
    holder = peers.PeerSource(worker, built.address)
    cache.sources = (*cache.known_sources(), holder)
    with plugin.fetching:
        for name, inputs in built.keys:
            cache.entry(Key(name, inputs), _nobody)


def _nobody(build_dir: BuildDirectory) -> None:
    raise _unfit(f"{_host()} can get {build_dir.log.stem} from nobody; it was built elsewhere")


def _check(wanted: str) -> None:
    if wanted != identity().resource:
        raise _unfit(f"{_host()} runs {identity().resource}, and who asks {wanted}")


def _directory(plugin: HarnessPlugin) -> Path:
    try:
        free = shutil.disk_usage(plugin.place).free
        if free < ROOM:
            raise _unfit(f"{_host()} has only {free >> 20} MiB free in {plugin.place}")
        return Path(tempfile.mkdtemp(prefix="task-", dir=plugin.place))
    except OSError as error:
        raise _unfit(f"{_host()} cannot make a directory: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Ended:
    status: int
    seconds: float
    late: bool


def _follow(task: Task, directory: Path, withdrawn: threading.Event) -> _Ended:
    try:
        process = TaskProcess(task, directory)
    except OSError as error:
        raise _unfit(f"{_host()} cannot start a task: {error}") from error
    try:
        while (status := process.poll()) is None:
            if withdrawn.wait(_POLL_SECONDS):
                raise Withdrawn(f"{task.name} was taken back")
        return _Ended(status, process.seconds, process.late)
    finally:
        process.end()


def _run(task: Task, plugin: HarnessPlugin, withdrawn: threading.Event) -> Outcome:
    directory = _directory(plugin)
    environment = {TREES: str(_MOST_TREES), **task.environment}
    try:
        with _beside_others(task.alone):
            ended = _follow(
                dataclasses.replace(task, environment=environment), directory, withdrawn
            )
        try:
            files = pack(directory, task.dropped)
        except OSError as error:
            raise _unfit(f"{_host()} cannot read what a task left: {error}") from error
        return Outcome(ended.status, ended.seconds, ended.late, _host(), str(directory), files)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _beside_others(alone: bool) -> Iterator[None]:
    """Holds off others of this machine (who share the cache) where it must be alone."""
    with FileLock(Cache().directory("locks") / "alone.lock") as lock:
        if alone:
            lock.exclusive()
        else:
            lock.shared()
        yield


def _unfit(text: str) -> Unfit:
    error = Unfit(text)
    error.address = get_worker().address
    return error


def _host() -> str:
    """This worker's name, with this machine's where it is only a number."""
    name = str(get_worker().name)
    return f"{platform.node()}-{name}" if name.isdigit() else name
