# SPDX-License-Identifier: MIT
"""A machine that was not started, and one that cannot be: no QEMU is needed for either."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.errors import MachineError
from harness.machine.iothread import IoThread
from harness.machine.machine import Machine


@pytest.fixture
def config(tmp_path: Path) -> MachineConfig:
    for name in ("zImage", "dtb"):
        (tmp_path / name).write_text(name)
    return MachineConfig(ImageSet(tmp_path / "zImage", tmp_path / "dtb"), qemu="no-such-qemu")


def descriptors() -> set[str]:
    IoThread.shared()  # made once, and kept
    return {str(path) for path in Path("/proc/self/fd").iterdir()}


def test_the_constructor_starts_nothing(config: MachineConfig) -> None:
    before, threads = descriptors(), threading.active_count()
    machine = Machine(config)
    assert machine.argv == []
    assert descriptors() == before
    assert threading.active_count() == threads
    machine.close()


@pytest.mark.parametrize("part", ["qmp", "console", "commands", "channel", "pid"])
def test_its_parts_are_asked_for_after_the_start(config: MachineConfig, part: str) -> None:
    with Machine(config) as machine, pytest.raises(MachineError, match="was not started"):
        getattr(machine, part)


def test_a_machine_that_was_not_started_can_be_reported_on(config: MachineConfig) -> None:
    with Machine(config) as machine:
        machine.guard()
        machine.last_words()
        assert "was not started" in machine.silence()


def test_a_start_that_fails_leaves_nothing_open(config: MachineConfig) -> None:
    before = descriptors()
    machine = Machine(config)
    with pytest.raises(UserError, match="no-such-qemu is not installed"):
        machine.start()
    assert descriptors() == before
    with pytest.raises(MachineError, match="starts once"):
        machine.start()
