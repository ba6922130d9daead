# SPDX-License-Identifier: MIT
"""Locks on files whose directory somebody removes meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.host.locking import FileLock


def test_a_lock_whose_directory_went_away_is_closed_once(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    lock = FileLock(place / "lock")
    shutil.rmtree(place)
    with pytest.raises(FileNotFoundError):
        lock.exclusive()
    taken = os.open(os.devnull, os.O_RDONLY)  # somebody else's file gets the number
    lock.close()
    os.close(taken)
