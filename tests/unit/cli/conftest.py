# SPDX-License-Identifier: MIT
"""What all tests of the commands have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host import project


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go where no other process of this checkout writes."""
    monkeypatch.setattr(project, "ARTIFACTS", tmp_path / "artifacts")
