# SPDX-License-Identifier: MIT
"""Sequences of operations beside the model: those that were found once, and some new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore.areas import PAGE
from harness.explore.guests import Difference, Explorer
from harness.explore.model import Model, Operation
from harness.explore.sequence import read
from harness.explore.setup import prepare
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine
from harness.machine.template import TemplateStore

KEPT = sorted((Path(__file__).parent / "sequences").glob("*.json"))
pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("agent", "two-areas", "debugfs", "app-script", "module-areas"),
]


@pytest.fixture
def explorer(machine_config: MachineConfig, templates: TemplateStore, artifacts: Path) -> Explorer:
    """Guests with the driver on both areas, and guards beside these."""
    setup = prepare(machine_config, templates, artifacts, print)
    return Explorer(templates, setup, artifacts, print)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_was_found_once(explorer: Explorer, path: Path) -> None:
    explorer.run(read(path).operations)


def test_random_sequences_are_answered_as_the_model_says(explorer: Explorer) -> None:
    # Here, since Hypothesis takes half a second of each process that imports this file.
    from harness.explore.campaign import explore

    found = explore(explorer.run, seconds=0, seed=1, examples=6, shorten=5)
    if found is not None:
        sequence, error = found
        error.add_note("\n".join(map(str, sequence)))
        raise error
    assert explorer.steps > 20


class Corrupting(Explorer):
    """The host writes a word where nobody has allocated, as a fault in the kernel may."""

    where = 0

    def _compare_memory(self, machine: Machine, model: Model) -> None:
        machine.write_physical(self.where, b"written")
        super()._compare_memory(machine, model)


@pytest.mark.parametrize("place", ["after", "guard"])
def test_a_word_that_nobody_may_write_is_found(explorer: Explorer, place: str) -> None:
    spec = explorer.setup.areas[0]
    wrong = Corrupting(explorer.store, explorer.setup, explorer.artifacts, print)
    wrong.where = spec.base + 3 * PAGE + 16 if place == "after" else spec.base + spec.pages * PAGE
    with pytest.raises(Difference, match=f"at {wrong.where:#x} it is 7772697474656e"):
        wrong.run([Operation("alloc", (0, 2))])
