# SPDX-License-Identifier: MIT
"""Exploration under memory pressure: it reaches the areas, and a fault that is put in is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.explore.areas import PAGE
from harness.explore.guests import Difference, Explorer
from harness.explore.model import Model, Operation, Step
from harness.explore.setup import prepare
from harness.guest.cma_state import CmaState
from harness.guest.guest import Guest
from harness.imageset.features import Feature
from harness.machine.config import MachineConfig
from harness.machine.template import TemplateStore
from tests.cma.support import version_of

pytestmark = pytest.mark.needs(
    "agent", "two-areas", "debugfs", "app-script", "module-areas", "memory-pressure"
)

MIB = 1 << 20
LENDS = 5, 8
"""The first version that lends out areas before all other memory is gone."""
DATA_OF_FILES_OR_PROCESSES = 1 << 5
"""LRU of ``/proc/kpageflags``."""
FORKS = [Operation("fork", (application,)) for application in (0, 1, 2) * 3]
PRESSURE = [Operation("pressure", (1,))]
PIN = [*PRESSURE, Operation("pin", (1, 0))]
"""The first free page of the default area: small blocks are lent first, and that area has them."""


class Looking(Explorer):
    """Notes what the kernel says at the end of a sequence."""

    state: CmaState
    lent: int
    """Pages of the areas that have somebody's data."""
    used: int
    """Pages that the model has allocated in all, beside those of the boot."""

    def _compare_state(self, guest: Guest, model: Model) -> None:
        super()._compare_state(guest, model)
        self.state = guest.cma()
        self.used = sum(area.used for area in model.areas)
        start = min(area.base for area in self.setup.areas)
        count = sum(area.pages for area in self.setup.areas)
        assert start // PAGE % count == 0
        table = guest.run(
            f"dd if=/proc/kpageflags bs={8 * count} skip={start // PAGE // count} count=1"
            " 2>/dev/null"
        ).stdout
        flags = [int.from_bytes(table[at : at + 8], "little") for at in range(0, 8 * count, 8)]
        assert len(flags) == count
        self.lent = sum(1 for flag in flags if flag & DATA_OF_FILES_OR_PROCESSES)


@pytest.fixture
def explorer(machine_config: MachineConfig, templates: TemplateStore, artifacts: Path) -> Explorer:
    """Guests whose memory is nearly full."""
    setup = prepare(machine_config, templates, artifacts, print)
    assert setup.pressure
    return Explorer(templates, setup, artifacts, print)


def like(kind: type[Explorer], explorer: Explorer) -> Any:
    """An explorer of another class, of the same guests."""
    return kind(explorer.store, explorer.setup, explorer.artifacts, print)


def run(explorer: Explorer, operations: Sequence[Operation]) -> Looking:
    """Runs a sequence; what was seen at its end."""
    seen: Looking = like(Looking, explorer)
    seen.run(operations)
    return seen


@pytest.mark.parametrize("kind", [0, 1], ids=["tmpfs", "anon"])
def test_pressure_reaches_the_areas_and_nothing_else_does(explorer: Explorer, kind: int) -> None:
    if version_of(explorer.setup.config.images) < LENDS:
        pytest.skip("this kernel lends out areas only when all other memory is gone")
    without = run(explorer, FORKS)
    assert without.lent == 0
    pressed = run(explorer, [*FORKS, Operation("pressure", (kind,))])
    assert pressed.lent > MIB // PAGE
    gone = without.state.meminfo.free - pressed.state.meminfo.free
    assert gone >= pressed.lent * PAGE * 9 // 10
    relieved = run(explorer, [Operation("pressure", (kind,)), Operation("relief", (kind,))])
    assert relieved.lent < pressed.lent // 4


def test_what_was_lent_is_had_again_and_the_data_is_as_it_was(explorer: Explorer) -> None:
    # In pieces: the boot has the first 64 pages of the default area.
    pieces = [Operation("alloc", (2, count)) for count in (64, 128, *[256] * 7)]
    whole = [Operation("alloc", (0, 2048)), *pieces]
    seen = run(explorer, [*PRESSURE, *whole])
    assert seen.used == 2 * 2048
    assert seen.lent == 0
    run(explorer, [*PIN, *whole, Operation("unpin", (0,)), *whole, Operation("relief", (0,))])


class Writing(Explorer):
    """The host writes a word into a pinned page, as a fault of the kernel's may."""

    def _exchange(self, guest: Guest, steps: Sequence[Step], done: int) -> str:
        answer = super()._exchange(guest, steps, done)
        if steps[-1].told:
            guest.machine.write_physical(int(answer.split()[1], 0) + 16, b"written")
        return answer


@pytest.mark.parametrize("how", ["at the end", "step 3", "step 4"])
def test_data_that_was_damaged_is_told(explorer: Explorer, how: str) -> None:
    unpin, relief = Operation("unpin", (0,)), Operation("relief", (0,))
    after = {"at the end": [], "step 3": [unpin], "step 4": [Operation("look", (0,)), unpin]}[how]
    with pytest.raises(Difference, match=f"^{how}: .*DAMAGED"):
        like(Writing, explorer).run([*PIN, *after, relief])


class Deaf(Explorer):
    """Takes each page for one that can be moved, as a model that is wrong does."""

    def _exchange(self, guest: Guest, steps: Sequence[Step], done: int) -> str:
        answer = super()._exchange(guest, steps, done)
        return "ok none" if steps[-1].told else answer


def test_a_place_that_is_passed_over_without_a_reason_is_told(explorer: Explorer) -> None:
    page = explorer.setup.areas[1].free[0][0]
    address = explorer.setup.areas[1].base + page * PAGE
    sequence = [*PIN, Operation("alloc", (2, 1))]
    explorer.run(sequence)
    with pytest.raises(Difference, match=f"step 3: .*expected 'ok {address:#x}"):
        like(Deaf, explorer).run(sequence)


def test_what_a_system_lacks_is_left_out(
    machine_config: MachineConfig, templates: TemplateStore, artifacts: Path
) -> None:
    images = machine_config.images
    images = dataclasses.replace(images, features=images.features - {Feature.PRESSURE})
    config = dataclasses.replace(machine_config, images=images)
    setup = prepare(config, templates, artifacts, print)
    assert not setup.pressure
    assert setup.config.memory_mib == config.memory_mib
    without = Explorer(templates, setup, artifacts, print)
    without.run([*PIN, Operation("alloc", (2, 1))])
    assert without.steps == 1
