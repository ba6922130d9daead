# SPDX-License-Identifier: MIT
"""What the plugin's tests share."""

from __future__ import annotations

import pytest

from harness.host.project import ROOT


@pytest.fixture(autouse=True)
def inner_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of pytest within a test find the plugin, and do not import Hypothesis, which they do not
    use: with the rewriting of its assertions that takes longer than most of them.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
