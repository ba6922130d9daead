# SPDX-License-Identifier: MIT
"""Where what a run leaves goes: never into a kernel tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host import project
from tests.unit.builders.kernel_repository import make


def test_an_installed_harness_leaves_results_where_the_user_is(tmp_path: Path) -> None:
    assert project.artifacts(tmp_path, installed=True) == tmp_path / "artifacts"
    assert project.artifacts(tmp_path, installed=False) == project.ROOT / "artifacts"


def test_a_kernel_tree_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one, two = make(tmp_path / "a" / "linux"), make(tmp_path / "b" / "linux")
    places = {project.artifacts(place / "mm", installed=True) for place in (one, two)}
    assert len(places) == 2, "each tree has its own"
    assert all(place.is_relative_to(tmp_path / "state") for place in places)
