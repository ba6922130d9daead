# SPDX-License-Identifier: MIT
"""Collects this project's tests within a test, in its process: they are imported once."""

from __future__ import annotations

import pytest

from harness.host.project import ROOT


class _Collector:
    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collect(*words: str) -> tuple[list[pytest.Item], int]:
    """The tests that ``pytest WORDS`` would run, and its exit status; what it says is printed."""
    collector = _Collector()
    plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    argv = [
        "--collect-only",
        "-q",
        *plugins,
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pytest.ini"),
    ]
    status = pytest.main([*argv, *words], plugins=[collector])
    return collector.items, int(status)
