# SPDX-License-Identifier: MIT
"""Sequences that were found once are run first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import HarnessError, JudgementError
from harness.explore.kept import first_to_differ, kept
from harness.explore.model import Operation
from harness.explore.sequence import Found

OLD, NEW = (Found((Operation("look", (area,)),), "6.1.0", "odd") for area in (0, 1))


def test_the_newest_is_first_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    assert list(kept(tmp_path / "missing")) == []
    os.utime(OLD.write(tmp_path), (1, 1))
    NEW.write(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert list(kept(tmp_path)) == [NEW, OLD]


def test_the_first_that_differs_is_told() -> None:
    def run(operations: Sequence[Operation]) -> None:
        if operations == OLD.operations:
            raise JudgementError("it differs")

    assert first_to_differ(run, [NEW]) is None
    found = first_to_differ(run, [NEW, OLD])
    assert found is not None
    assert (found[0], str(found[1])) == (OLD, "it differs")


def test_the_host_s_trouble_is_no_difference() -> None:
    def run(operations: Sequence[Operation]) -> None:
        raise HarnessError("no memory")

    with pytest.raises(HarnessError, match="no memory"):
        first_to_differ(run, [OLD])
