# SPDX-License-Identifier: MIT
"""Whether a host that stands still is noticed, and a guest that only hangs is not excused."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.machine.stall import (
    INTERVAL,
    LIMIT,
    Stalls,
    StallSample,
    StallWatch,
    look,
    shared,
    stolen,
)


class Host:
    """A host whose clocks are set by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.busy = 0.0
        self.theft = 0.0
        self.sample: StallSample | None = StallSample(False, 0.0)
        self.watch = StallWatch(
            lambda: self.now, lambda: self.busy, lambda: self.theft, lambda pid: self.sample
        )
        self.stalls = Stalls(1)
        self.watch._watched.append(self.stalls)
        self.tick()

    def tick(self, seconds: float = INTERVAL, **more: float) -> None:
        self.now += seconds
        self.busy += more.get("busy", 0.0)
        self.theft += more.get("theft", 0.0)
        if self.sample is not None:
            self.sample.delay += more.get("delay", 0.0)
        self.watch.tick()


@pytest.fixture
def host() -> Host:
    return Host()


def test_a_host_that_is_well_voids_nothing(host: Host) -> None:
    for _ in range(1000):
        host.tick(busy=0.1, delay=0.05, theft=0.01)
    assert host.stalls.reason() == ""


def test_a_stopped_qemu_is_noticed(host: Host) -> None:
    host.sample = StallSample(True, 0.0)
    for _ in range(int(26 / INTERVAL)):
        host.tick()
    assert host.stalls.reason() == "QEMU was stopped for 26.0 s"


def test_a_short_stop_is_none(host: Host) -> None:
    host.sample = StallSample(True, 0.0)
    host.tick()
    assert 0 < host.stalls.stopped < LIMIT
    assert host.stalls.reason() == ""


def test_a_host_that_slept_is_noticed(host: Host) -> None:
    host.tick(30.0)
    assert "no processor for 29.8 of 30.2 s" in host.stalls.reason()


def test_a_harness_that_was_busy_itself_is_no_host_that_slept(host: Host) -> None:
    """A guest that prints without end keeps its harness busy: that is not the host's fault."""
    host.tick(30.0, busy=29.9)
    assert host.stalls.reason() == ""


def test_a_qemu_that_gets_no_processor_is_noticed(host: Host) -> None:
    for _ in range(30):
        host.tick(delay=0.19)
    assert "no processor" in host.stalls.reason()


def test_a_loaded_host_that_gives_it_little_again_and_again_is_slow_and_no_stall(
    host: Host,
) -> None:
    for number in range(1000):
        host.tick(delay=0.19 if number % 5 == 0 else 0.0)
    assert host.stalls.starved > 20
    assert host.stalls.reason() == ""
    for number in range(2000):
        host.tick(delay=0.19 if number % 2 else 0.0)
    assert "no processor" in host.stalls.reason(), "a third of its life is too much"


def test_a_slow_host_is_no_stall(host: Host) -> None:
    for _ in range(1000):
        host.tick(delay=0.14)
    assert host.stalls.reason() == ""


def test_stolen_time_is_noticed(host: Host) -> None:
    for _ in range(30):
        host.tick(theft=0.19)
    assert "no processor" in host.stalls.reason()


def test_a_qemu_that_ended_is_not_looked_at_any_more(host: Host) -> None:
    host.sample = None
    host.tick(30.0)
    assert host.watch._watched == []
    assert host.stalls.reason() == ""


def test_a_real_process_that_is_stopped(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            stalls = shared().watch(process.pid)
            os.kill(process.pid, signal.SIGSTOP)
            end = time.monotonic() + 60
            while not stalls.reason():
                assert time.monotonic() < end, "it is noticed"
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGCONT)
            assert "QEMU was stopped" in stalls.reason()
        finally:
            process.kill()


def test_what_proc_says() -> None:
    sample = look(os.getpid())
    assert sample is not None
    assert not sample.stopped
    assert look(2**22 + 1) is None
    assert stolen() >= 0


def test_a_proc_without_schedstat_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "7" / "task" / "7").mkdir(parents=True)
    (tmp_path / "7" / "stat").write_text("7 (a) b) T 1 7")
    assert look(7, tmp_path) == StallSample(True, 0.0)
    assert stolen(tmp_path) == 0.0
