# SPDX-License-Identifier: MIT
"""The engines: every test of the protocol runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.engine.local import LocalEngine
from harness.engine.task import Engine

SLOW = pytest.mark.slow("a scheduler and two workers are started")


@pytest.fixture(scope="session")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A connection to a scheduler with two workers, which have a cache of their own."""
    from harness.engine.connection import Connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = Connection("local:2", None)
    yield made
    made.close()


@pytest.fixture(params=["local", pytest.param("dask", marks=SLOW)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One of the two, for two tasks at once."""
    opened: Engine
    if request.param == "local":
        opened = LocalEngine(2)
    else:
        from harness.engine.dask import DaskEngine

        kept = request.getfixturevalue("connection")
        monkeypatch.setattr(kept, "close", lambda: None)
        opened = DaskEngine(kept)
    with opened:
        yield opened
