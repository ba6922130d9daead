# SPDX-License-Identifier: MIT
"""What goes wrong in a cluster of processes: no result is lost, and none comes twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.task import Done, Engine
from harness.errors import HarnessError
from harness.host.project import ROOT
from tests.unit.engine.test_protocol import alive, gone, task

pytestmark = pytest.mark.slow("a scheduler and its workers as processes")
DEADLINE = 90.0


class Program:
    """One of the cluster's programs, and what it says."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", "cluster", *words],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            process_group=0,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.said.extend(iter(lines.readline, ""))

    def wait_for(self, pattern: str) -> str:
        def match() -> re.Match[str] | None:
            return re.search(pattern, "".join(self.said))

        until(lambda: match() is not None or self.process.poll() is not None)
        found = match()
        assert found, self.said
        return found[1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        self._reader.join()
        return status


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Cluster:
    """A scheduler on a loopback port, and workers."""

    def __init__(self, place: Path) -> None:
        self.environment = {"HARNESS_CACHE": str(place / "cache")}
        self.workers: dict[str, Program] = {}
        self.scheduler = self.start_scheduler(0)
        self.address = self.scheduler.wait_for(r"listens at (\S+)")

    def start_scheduler(self, port: int) -> Program:
        words = ["scheduler", f"tcp://127.0.0.1:{port}", "--worker-timeout", "3"]
        return Program(words, self.environment)

    def add(self, *names: str, guests: int = 1, **environment: str) -> None:
        for name in names:
            words = ["worker", self.address, "--guests", str(guests), "--name", name]
            self.workers[name] = Program(words, {**self.environment, **environment})
        for name in names:
            self.workers[name].wait_for(r"(works for)")

    def end(self) -> None:
        for program in (*self.workers.values(), self.scheduler):
            if program.process.poll() is None:
                program.end()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.end()


class Tasks:
    """Tasks that note who runs them, and end when they are let go."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.runs = place / "runs"
        self.runs.mkdir()
        self.go = place / "go"

    def submit(self, engine: Engine, count: int, **more: object) -> None:
        code = f"""
import os, pathlib, sys, time
runs = pathlib.Path("{self.runs}")
parent = pathlib.Path("/proc/self/status").read_text().split("PPid:")[1].split()[0]
new = runs / f".{{os.getpid()}}"
new.write_text(f"NAME {{parent}}")
new.rename(runs / str(os.getpid()))
while not pathlib.Path("{self.go}").exists():
    time.sleep(0.02)
print("result of NAME")
"""
        for number in range(count):
            name = f"t{number}"
            made = task(name, code.replace("NAME", name), **more)  # type: ignore[arg-type]
            engine.submit(made, self.place / "out" / name)

    def of(self, worker: Program) -> list[int]:
        """The processes that a worker has started."""
        found = []
        for path in self.runs.glob("[0-9]*"):
            if path.read_text().split()[1] == str(worker.process.pid):
                found.append(int(path.name))
        return found

    def wait_for(self, worker: Program) -> list[int]:
        """As `of`, when there is one."""
        until(lambda: self.of(worker))
        return self.of(worker)

    def check(self, results: list[Done], count: int) -> None:
        assert sorted(done.task.name for done in results) == sorted(f"t{n}" for n in range(count))
        for done in results:
            assert (done.status, done.trouble) == (0, "")
            assert f"result of {done.task.name}" in done.said


class Collected(threading.Thread):
    """Takes an engine's results while the test does something else."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.results: list[Done] = []
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.results += self.engine.results()
        except BaseException as error:
            self.error = error

    def all(self) -> list[Done]:
        self.join(DEADLINE)
        assert not self.is_alive()
        assert self.error is None
        return self.results


def test_two_of_three_workers_are_killed_and_all_results_come_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add("one", "two", "three")
    tasks = Tasks(tmp_path)
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 6)
        collected = Collected(engine)
        for name in ("one", "two"):
            worker = cluster.workers[name]
            pids = tasks.wait_for(worker)
            worker.process.kill()
            worker.process.wait()
            assert gone(*pids), "what a killed worker ran ends with it"
        tasks.go.touch()
        tasks.check(collected.all(), 6)


def test_a_lost_worker_s_task_does_not_wait_for_a_busy_one_where_another_has_room(
    cluster: Cluster, tmp_path: Path
) -> None:
    from harness.engine.dask import DaskEngine

    cluster.add("one", "two", guests=2)
    tasks = Tasks(tmp_path)
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 2, guests=2)
        collected = Collected(engine)
        one, two = (cluster.workers[name] for name in ("one", "two"))
        until(lambda: tasks.of(one) and tasks.of(two))
        two.process.kill()
        two.process.wait()
        assert isinstance(engine, DaskEngine)
        assigned = engine._connection.assigned
        until(lambda: len(keys := assigned()) == 2 and len(set(keys.values())) == 1)
        cluster.add("three", guests=2)
        tasks.wait_for(cluster.workers["three"])
        assert all(map(alive, tasks.of(one))), "what runs is left alone"
        tasks.go.touch()
        tasks.check(collected.all(), 2)
        assert {done.host for done in collected.results} == {"one", "three"}


def test_a_frozen_worker_s_task_is_run_elsewhere_and_ends_when_it_thaws(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add("one", "two")
    tasks = Tasks(tmp_path)
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 2)
        collected = Collected(engine)
        worker = cluster.workers["one"]
        until(lambda: tasks.of(worker) and tasks.of(cluster.workers["two"]))
        (pid,) = tasks.of(worker)
        name = (tasks.runs / str(pid)).read_text().split()[0]
        os.kill(worker.process.pid, signal.SIGSTOP)
        # The other one has a task already: it is let go, and takes that of the frozen one.
        os.kill(pid, signal.SIGSTOP)
        tasks.go.touch()
        tasks.check(collected.all(), 2)
        assert {done.host for done in collected.results} == {"two"}
        assert alive(pid), f"{name} is still there"
        os.kill(worker.process.pid, signal.SIGCONT)
        assert gone(pid)


def test_a_scheduler_that_is_started_again_gets_what_is_left(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add("one", "two")
    tasks = Tasks(tmp_path)
    port = int(cluster.address.rpartition(":")[2])
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 4)
        collected = Collected(engine)
        until(lambda: len(list(tasks.runs.glob("[0-9]*"))) == 2)
        pids = [int(path.name) for path in tasks.runs.glob("[0-9]*")]
        cluster.scheduler.end(signal.SIGKILL)
        assert gone(*pids), "a worker without a scheduler runs nothing"
        cluster.scheduler = cluster.start_scheduler(port)
        tasks.go.touch()
        tasks.check(collected.all(), 4)


def test_a_worker_with_another_qemu_is_refused_and_that_is_said(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "bin" / "qemu-system-arm"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho QEMU emulator version 99.1.2\n")
    other.chmod(0o755)
    cluster.add("other", PATH=f"{other.parent}:{os.environ['PATH']}")
    cluster.add("same")
    tasks = Tasks(tmp_path)
    tasks.go.touch()
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 3)
        results = list(engine.results())
        tasks.check(results, 3)
    assert {done.host for done in results} == {"same"}
    assert re.search(r"worker other .* is refused: QEMU 99.1.2, here", capsys.readouterr().err)


def test_who_asks_ends_and_so_does_what_he_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("one")
    tasks = Tasks(tmp_path)
    client = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import pathlib, sys\n"
            "from harness.engine.choose import ClusterChoice, open_engine\n"
            "from tests.unit.engine.test_faults import Tasks\n"
            "place = pathlib.Path(sys.argv[2])\n"
            "(place / 'inner').mkdir()\n"
            "tasks = Tasks(place / 'inner')\n"
            "with open_engine(ClusterChoice(sys.argv[1]), 1) as engine:\n"
            "    tasks.submit(engine, 2)\n"
            "    list(engine.results())\n",
            cluster.address,
            str(tmp_path),
        ],
        cwd=ROOT,
    )
    inner = tmp_path / "inner" / "runs"
    until(lambda: inner.is_dir() and list(inner.glob("[0-9]*")))
    (pid,) = (int(path.name) for path in inner.glob("[0-9]*"))
    client.kill()
    client.wait()
    assert gone(pid)
    # The worker is free for the next one.
    tasks.go.touch()
    with open_engine(ClusterChoice(cluster.address), 1) as engine:
        tasks.submit(engine, 1)
        tasks.check(list(engine.results()), 1)


def test_where_no_worker_can_be_used_that_is_infrastructure(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engine import dask

    monkeypatch.setattr(dask, "WORKER_WAIT", 0.5)
    with pytest.raises(HarnessError, match=r"no worker of .* can be used"):
        open_engine(ClusterChoice(cluster.address), 1)
