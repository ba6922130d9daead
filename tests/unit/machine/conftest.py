# SPDX-License-Identifier: MIT
"""A trace that has no end is not waited for as long as a stalled host is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.machine import crash


@pytest.fixture(autouse=True)
def short_traces() -> Iterator[None]:
    """What is fed here is there at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash, "STALLED", 0.4)
        yield
