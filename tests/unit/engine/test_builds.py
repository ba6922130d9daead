# SPDX-License-Identifier: MIT
"""A build is made once in a cluster, and goes whole to whoever needs it; workers without room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.builders.cache import BuildDirectory, Cache
from harness.engine.identity import identity
from harness.errors import BuildError, HarnessError
from tests.unit.engine import made
from tests.unit.engine.test_faults import Cluster
from tests.unit.engine.test_protocol import run, task

pytestmark = pytest.mark.slow("a scheduler and two workers as processes")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two workers, each with a cache of its own, as on two machines."""
    cluster = Cluster(tmp_path)
    for name in ("one", "two"):
        cluster.add(name, HARNESS_CACHE=str(tmp_path / name))
    yield cluster
    cluster.end()


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[Any]:
    from harness.engine.connection import Connection

    opened = Connection(cluster.address, None)
    yield opened
    opened.close()


def addresses(connection: Any) -> dict[str, str]:
    return {member.name: member.address for member in connection.members()}


def test_it_is_made_once_whoever_asks_and_moved_whole(
    cluster: Cluster, connection: Any, tmp_path: Path
) -> None:
    from harness.engine.connection import Connection

    log = tmp_path / "log"
    where = addresses(connection)
    other = Connection(cluster.address, None)
    try:
        asked = [
            one.client.submit(made.build, str(log), key="build-x", workers=[where["one"]])
            for one in (connection, other)
        ]
        assert {future.result().host for future in asked} == {"one"}
        assert log.read_text() == "one\n"
        taken = connection.client.submit(made.take, asked[0], workers=[where["two"]], pure=False)
        assert taken.result() == "content" * 1000
    finally:
        other.close()
    names = {path.name for path in (tmp_path / "two" / "entries").iterdir()}
    assert names == {made.KEY.slug}
    assert log.read_text() == "one\n", "it was moved, not made again"
    # It is there for others too, when who made it is gone.
    cluster.workers["one"].end()
    cluster.add("three", HARNESS_CACHE=str(tmp_path / "three"))
    where = addresses(connection)
    built = asked[0].result()
    taken = connection.client.submit(made.take, built, workers=[where["three"]], pure=False)
    assert taken.result() == "content" * 1000


def test_one_that_is_damaged_where_it_lies_is_not_taken(connection: Any, tmp_path: Path) -> None:
    where = addresses(connection)
    client = connection.client
    built = client.submit(made.build, str(tmp_path / "log"), workers=[where["one"]])
    built.result()
    client.run(made.damage, workers=[where["one"]])
    taken = client.submit(made.take, built, workers=[where["two"]], pure=False)
    with pytest.raises(HarnessError, match="from nobody"):
        taken.result()
    assert not list((tmp_path / "two" / "entries").glob("*"))


def test_a_worker_whose_disk_is_full_gets_no_task(connection: Any, tmp_path: Path) -> None:
    where = addresses(connection)
    connection.client.run(made.fill_disk, workers=[where["one"]])
    from harness.engine.dask import DaskEngine

    with DaskEngine(connection) as engine:
        found = run(engine, tmp_path / "out", *(task(f"t{n}", "pass") for n in range(4)))
    assert {done.host for done in found.values()} == {"two"}
    assert {(done.status, done.trouble) for done in found.values()} == {(0, "")}


def test_what_a_killed_worker_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    from harness.engine.worker import remove_left
    from harness.host.locking import FileLock

    names = ("harness-worker-dead", "harness-worker-alive", "harness-worker-other", "mine")
    for name in names:
        (tmp_path / name).mkdir()
    for name in ("harness-worker-dead", "harness-worker-alive", "mine"):
        (tmp_path / name / "lock").touch()
    with FileLock(tmp_path / "harness-worker-alive" / "lock") as lock:
        lock.exclusive()
        remove_left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {"harness-worker-dead"}


def test_a_place_that_is_taken_for_a_dead_one_s_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engine.worker import make_place, remove_left
    from harness.host.locking import FileLock

    opened: list[FileLock] = []

    class Raced(FileLock):
        def exclusive(self, waiting: object = None) -> None:
            if not opened:
                remove_left(tmp_path)  # as another worker does at its start
            opened.append(self)
            super().exclusive()

    monkeypatch.setattr("harness.engine.worker.FileLock", Raced)
    place, lock = make_place(tmp_path)
    with lock:
        remove_left(tmp_path)
        assert list(tmp_path.iterdir()) == [place]
    assert [one.fd for one in opened] == [-1, -1], "the lost one too was closed"


def test_one_gives_to_some_at_once_and_not_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engine import peers

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(peers, "PIECE", 100)

    def make(build_dir: BuildDirectory) -> None:
        (build_dir.out / "file").write_bytes(os.urandom(5000))

    Cache().entry(made.KEY, make)
    packed = peers.Packed(tmp_path / "packed")

    async def ask() -> None:
        slug, names = made.KEY.slug, [f"w{number}" for number in range(peers.AT_ONCE)]
        assert await packed.piece("../../etc", 0, "w0") == {}
        assert await packed.piece("thing-other", 0, "w0") == {}
        for name in names:
            assert len((await packed.piece(slug, 0, name))["data"]) == 100
        assert await packed.piece(slug, 0, "one more") == {"busy": True}
        last = (await packed.piece(slug, 100, names[0]))["size"] - 1
        assert len((await packed.piece(slug, last, names[0]))["data"]) == 1
        assert "data" in await packed.piece(slug, 0, "one more")

    asyncio.run(ask())


def build_of(program: str) -> Any:
    """A build as a task: a program of Python, in its directory."""
    return task("build", f"import os, sys; os.chdir(sys.argv[1]); {program}")


def test_a_worker_s_new_cache_is_taken_though_compiled_modules_came_first(connection: Any) -> None:
    from harness.engine.worker import run_build

    program = (
        "from harness.builders.cache import Cache; Cache().directory('entries');"
        " open('entries.json', 'w').write('[]')"
    )
    wanted = identity().resource
    future = connection.client.submit(run_build, "", "", build_of(program), wanted, pure=False)
    assert future.result().keys == ()


def test_a_build_that_fails_says_why_first(connection: Any) -> None:
    from harness.engine.worker import run_build

    program = "print('some words'); sys.exit('error: the disk is full')"
    wanted = identity().resource
    future = connection.client.submit(run_build, "", "", build_of(program), wanted, pure=False)
    error = future.exception()
    assert isinstance(error, BuildError)
    first, *others = str(error).splitlines()
    assert first in ("on one: the disk is full", "on two: the disk is full")
    assert others == ["some words"]
