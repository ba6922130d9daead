# SPDX-License-Identifier: MIT
"""What the builders' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.build.cache import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    return Room(tmp_path / "out", tmp_path / "tmp", tmp_path / "log", fd)
