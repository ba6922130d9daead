# SPDX-License-Identifier: MIT
"""The suite's judgement on leaks, where a kernel keeps objects of each module that is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cma import support


def looks(monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
    """What the cache has at each look; the last for good."""

    def numbers() -> Iterator[dict[str, int]]:
        yield from ({"kmalloc-64": count} for count in counts)
        while True:
            yield {"kmalloc-64": counts[-1]}

    seen = numbers()
    monkeypatch.setattr(support, "live_objects", lambda guest: next(seen))


def judge(kept: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 loads, after which there are 60 objects more; of any module `kept` stay."""
    guest: Any = None

    def of_any_module(guest: object, times: int) -> dict[str, int]:
        if kept is None:
            pytest.skip("not to be known")
        return {"kmalloc-64": kept}

    monkeypatch.setattr(support, "kept_of_any_module", of_any_module)
    looks(monkeypatch, *[100] * 6, 160)
    with support.no_growth(guest, 20, loads=20):
        pass


def test_what_any_module_leaves_is_no_fault_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    judge(60, monkeypatch)


@pytest.mark.parametrize("kept", [0, 40])
def test_what_the_driver_leaves_beyond_that_is(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=f"'kmalloc-64': {60 - kept}"):
        judge(kept, monkeypatch)


def test_nobody_is_blamed_where_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="not to be known"):
        judge(None, monkeypatch)


def test_without_loads_what_is_left_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    guest: Any = None
    looks(monkeypatch, *[100] * 6, 160)
    with (
        pytest.raises(AssertionError, match="'kmalloc-64': 60"),
        support.no_growth(guest, 20),
    ):
        pass
