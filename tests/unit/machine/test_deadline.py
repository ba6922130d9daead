# SPDX-License-Identifier: MIT
"""Deadlines, and the one above them all."""

from __future__ import annotations

import pytest

from harness.machine.deadline import Deadline


def test_no_deadline_is_later_than_that_of_the_whole() -> None:
    with Deadline.all_within(5) as whole:
        assert Deadline(60).remaining <= 5
        assert Deadline(1).remaining <= 1
        assert whole.remaining > 0
    assert Deadline(60).remaining > 5


def test_what_came_too_late_for_the_whole_is_late() -> None:
    with Deadline.all_within(0):
        assert Deadline(60).expired


def test_a_debugger_stops_that_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "stopped", True)
    with Deadline.all_within(0):
        assert not Deadline(1).expired
