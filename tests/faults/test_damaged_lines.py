# SPDX-License-Identifier: MIT
"""Every byte of every exchange with the agent and with a shell lost, doubled and split, and second
faults after a first one. The fast tests damage a share of the bytes only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.machine import test_damaged_agent_line as agent
from tests.unit.machine import test_damaged_shell_line as shell
from tests.unit.machine.damaged import (
    TO_GUEST,
    TO_HOST,
    Damage,
    agent_line,
    damage_all,
    name,
    shell_line,
)

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("HARNESS_FAULTS") != "all", reason="takes minutes: HARNESS_FAULTS=all"
    ),
    pytest.mark.timeout(7200),
]


@pytest.mark.parametrize("exchange", agent.STEPS, ids=name)
@pytest.mark.parametrize("first", [None, TO_GUEST, TO_HOST])
def test_no_damage_to_the_agents_line_makes_a_difference(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    exchange: Callable[[agent.Guest], None],
    first: str | None,
) -> None:
    before = (Damage(first, 1, "lost"),) if first else ()
    with agent_line(monkeypatch) as (channel, wire):
        guest = agent.Guest(channel, wire, tmp_path)
        guest.hello()
        damage_all(guest, exchange, 7 if first else 1, before)


@pytest.mark.parametrize("exchange", shell.STEPS, ids=name)
def test_no_damage_to_a_shells_line_makes_a_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exchange: Callable[[shell.Guest], None]
) -> None:
    with shell_line(monkeypatch) as (channel, wire):
        channel.open("abcd0123", shell.TIMEOUT)
        damage_all(shell.Guest(channel, wire, tmp_path), exchange, 1)
