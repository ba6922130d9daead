# SPDX-License-Identifier: MIT
"""One environment with the wheel for all tests and all workers of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.pytest_plugin.session import Session
from tests.qemu.installed import made_once


@pytest.fixture(scope="session")
def wheel_environment(tmp_path_factory: pytest.TempPathFactory, qemu_session: Session) -> Path:
    """A fresh environment with the wheel. The session's images are built by then, and are in the
    cache that the environment uses.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place = shared / "wheel"
    place.mkdir(exist_ok=True)
    return made_once(place)
