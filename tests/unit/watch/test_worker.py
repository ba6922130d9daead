# SPDX-License-Identifier: MIT
"""The worker's process: orders and events, cancelling, and that nothing of it is left."""

from __future__ import annotations

import io
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.builders.repository import Repository
from harness.imageset.model import ImageSet
from harness.watch import job, worker
from harness.watch.events import Event, Outcome, Stage
from harness.watch.job import Order, Settings
from harness.watch.keys import Keys
from harness.watch.process import WorkerProcess
from harness.watch.saves import counts, follow

DEADLINE = 30.0
FAKE = """\
import subprocess, sys
from harness.watch import job, worker
from harness.watch.events import Event, Outcome, Stage

def run(self, order):
    self._tell(Event(order.run, Stage.BUILD, "building"))
    if order.run % 2:
        program = subprocess.Popen(["sleep", "1000"])
        try:
            self._tell(Event(order.run, Stage.TEST, str(program.pid)))
            program.wait()
        finally:
            program.kill()
            program.wait()
    self._tell(Event(order.run, Stage.DONE, outcome=Outcome.PASSED))

job.Job.run = run
sys.argv = ["worker", sys.argv[1]]
sys.exit(worker.main())
"""


def settings(tmp_path: Path) -> Settings:
    return Settings(Repository(tmp_path, "sub/"), tmp_path / "out", 2, (tmp_path / "a.config",))


def test_settings_are_the_same_on_the_other_side(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert worker._settings(worker.settings_text(given)) == given


@pytest.fixture
def started(
    tmp_path: Path,
) -> Iterator[tuple[WorkerProcess, Callable[[], Event | None]]]:
    """A worker that has no kernel, and what it says next."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    told: queue.Queue[Event | None] = queue.Queue()
    with (tmp_path / "log").open("wb") as log:
        made = WorkerProcess(worker.settings_text(settings(tmp_path)), log, told.put, [str(script)])
        try:
            yield made, lambda: told.get(timeout=DEADLINE)
        finally:
            made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow("two processes of Python are started")
def test_a_run_is_cancelled_and_the_next_one_goes_on(
    started: tuple[WorkerProcess, Callable[[], Event | None]],
) -> None:
    made, said = started
    made.order(1)
    said()
    event = said()
    assert event is not None
    program = int(event.text)
    made.cancel()
    ended = said()
    assert ended is not None
    assert (ended.run, ended.stage, ended.outcome) == (1, Stage.DONE, Outcome.CANCELLED)
    assert not alive(program)
    made.cancel()  # nothing is under way: the next one
    made.order(2)
    ended = said()
    assert ended is not None
    assert (ended.run, ended.outcome) == (2, Outcome.CANCELLED)
    made.order(4)
    said()
    ended = said()
    assert ended is not None
    assert ended.outcome is Outcome.PASSED
    made.order(5)
    said()
    event = said()
    assert event is not None
    made.close()
    assert not alive(int(event.text))
    assert said() is not None
    assert said() is None


@pytest.mark.slow("a process of Python is started")
def test_a_run_that_is_cancelled_before_the_worker_is_there_is_cancelled(
    started: tuple[WorkerProcess, Callable[[], Event | None]],
) -> None:
    made, said = started
    made.order(1)
    made.cancel()
    ended = said()
    assert ended is not None
    while ended is not None and ended.stage is not Stage.DONE:  # it may have begun
        ended = said()
    assert ended is not None
    assert (ended.run, ended.outcome) == (1, Outcome.CANCELLED)


def test_the_newest_runs_are_kept_and_what_the_last_build_made(tmp_path: Path) -> None:
    told: list[Event] = []
    made = job.Job(settings(tmp_path), told.append)
    runs = tmp_path / "out" / "runs"
    for number in range(1, job.KEPT + 3):  # an earlier watch's, the last one the newest
        place = runs / f"{number:04d}"
        place.mkdir(parents=True)
        os.utime(place, (number, number))
    first = made._place(1)
    assert first.is_dir()
    assert len(list(runs.iterdir())) == job.KEPT
    assert not (runs / "0002").exists()
    made._built = {}, ImageSet(tmp_path / "zImage", tmp_path / "dtb"), first
    os.utime(first, (1, 1))
    for number in range(2, job.KEPT + 4):
        assert made._place(number).is_dir()
    assert first.is_dir()


def test_orders_are_lines_and_the_end_of_them_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Order] = []

    class FakeJob:
        def __init__(self, settings: Settings, tell: object) -> None:
            pass

        def run(self, order: Order) -> None:
            done.append(order)
            if order.run == 1:
                os.kill(os.getpid(), signal.SIGINT)
                signal.sigtimedwait([], DEADLINE)  # until the signal's handler raises

        def close(self) -> None:
            done.append(Order(0))

    monkeypatch.setattr(worker, "Job", FakeJob)
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    events = io.StringIO()
    try:
        orders = io.StringIO('{"run": 1}\n{"run": 2, "all_tests": true}\n')
        worker.Worker(settings(tmp_path), events).serve(orders)
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert done == [Order(1), Order(2, True), Order(0)]
    assert '"cancelled"' in events.getvalue()


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("mm/cma.c", True),
        ("include/linux/cma.h", True),
        ("mm/Makefile", True),
        ("mm/Kconfig.debug", True),
        ("arch/arm/boot/dts/x.dtsi", True),
        ("mm/cma.o", False),
        ("mm/.cma.c.swp", False),
        ("mm/.#cma.c", False),
        ("mm/#cma.c#", False),
        ("mm/cma.c~", False),
        ("mm/4913", False),
        (".git/index", False),
        ("drivers/x.mod.c", False),
        ("include/generated/autoconf.h", False),
        ("build/include/config/auto.conf.h", False),
        ("../other/mm/cma.c", False),
    ],
)
def test_only_sources_count(path: str, wanted: bool) -> None:
    assert counts(Path("/tree"), f"/tree/{path}") is wanted


def test_a_save_is_seen_and_what_is_built_is_not(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    stop, saved = threading.Event(), queue.Queue[None]()
    thread = threading.Thread(target=follow, args=(tmp_path, stop, lambda: saved.put(None)))
    thread.start()
    try:
        for number in range(1000):
            (tmp_path / "mm" / "cma.o").write_text("built")
            (tmp_path / "mm" / "cma.c").write_text(str(number))
            try:
                saved.get(timeout=0.2)
                break
            except queue.Empty:  # the watch has not begun
                continue
        else:
            pytest.fail("no save was seen")
    finally:
        stop.set()
        thread.join(DEADLINE)


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal")
def test_a_terminal_is_as_it_was_afterwards() -> None:
    import termios

    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    try:
        with Keys(theirs) as keys:
            assert termios.tcgetattr(theirs) != before
            assert keys.read() == ""
            os.write(ours, b"a")
            assert keys.read() == "a"
            keys.pause()
            assert termios.tcgetattr(theirs) == before
            keys.resume()
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
