# SPDX-License-Identifier: MIT
"""Every byte of every exchange with the agent lost, doubled and split; with ``HARNESS_FAULTS=all``
also each second fault after a first one. The fast tests damage a share of the bytes only.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.unit.machine.damaged import TO_GUEST, TO_HOST, Damage
from tests.unit.machine.test_damaged_agent_line import STEPS, Guest, damage_all, guest, name

__all__ = ["guest"]  # a fixture

ALL = os.environ.get("HARNESS_FAULTS") == "all"


@pytest.mark.skipif(not ALL, reason="takes minutes: HARNESS_FAULTS=all")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exchange", STEPS, ids=name)
@pytest.mark.parametrize("first", [None, TO_GUEST, TO_HOST])
def test_no_damage_makes_a_difference(
    guest: Guest, exchange: Callable[[Guest], None], first: str | None
) -> None:
    before = (Damage(first, 1, "lost"),) if first else ()
    damage_all(guest, exchange, 7 if first else 1, before)
