# SPDX-License-Identifier: MIT
"""Options of the fault suite: ``pytest --qemu tests/faults --seed 7 --rounds 200``.

Without them each test has a few rounds, at random; the seed is printed with a failure.
"""

from __future__ import annotations

import random

import pytest

ROUNDS = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds them; where this directory was not named on the command line, they are not there."""
    group = parser.getgroup("faults")
    group.addoption("--seed", type=int, help="of what the fault suite does at random")
    group.addoption("--rounds", type=int, help=f"how often each fault is tried ({ROUNDS})")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a test tries its fault."""
    return int(request.config.getoption("rounds", None) or ROUNDS)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Numbers at random; the same again with the same ``--seed``."""
    given = request.config.getoption("seed", None)
    seed = random.randrange(1 << 16) if given is None else given
    print(f"--seed {seed}")
    return random.Random(seed)
