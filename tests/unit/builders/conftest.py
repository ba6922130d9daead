# SPDX-License-Identifier: MIT
"""What the builders' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.builders.cache import BuildDirectory


@pytest.fixture
def build_dir(tmp_path: Path) -> BuildDirectory:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    return BuildDirectory(tmp_path / "out", tmp_path / "tmp", tmp_path / "log", fd)
