# SPDX-License-Identifier: MIT
"""What the plugin's tests share."""

from __future__ import annotations

import pytest

from harness.host.project import ROOT

WORKER = pytest.mark.slow("a worker of xdist is a Python that imports all once more")


@pytest.fixture(autouse=True)
def inner_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of pytest within a test find the plugin, have warnings as warnings, and do not import
    Hypothesis, which takes longer than most of them.
    """
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # it clears the variables that are set here
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -W default")
