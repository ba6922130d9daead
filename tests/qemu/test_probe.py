# SPDX-License-Identifier: MIT
"""The gate's look at a boot: the same kernel says the same, whatever the host has to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.gate.probe import SETTLED, new_warnings, probe
from harness.guest.guest import Guest
from harness.imageset.model import ImageSet

LATE = "(sleep 30; echo '<4>a late word' >/dev/kmsg) </dev/null >/dev/null 2>&1 &"


def test_what_the_kernel_says_late_is_seen_whether_the_host_was_slow_or_not(
    image_set: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle guest's clock leaps: that of one whose host is slow has gone far before its driver is
    loaded.
    """
    insmod = Guest.insmod

    def begin(guest: Guest, seconds: int) -> None:
        guest.run(LATE)
        guest.run(f"sleep {seconds}")
        insmod(guest)

    monkeypatch.setattr(Guest, "insmod", lambda guest: begin(guest, 0))
    quick = probe(image_set, tmp_path / "quick")
    monkeypatch.setattr(Guest, "insmod", lambda guest: begin(guest, 2 * SETTLED))
    slow = probe(image_set, tmp_path / "slow")
    assert "a late word" in quick.warnings
    assert new_warnings(quick, slow) == ([], [])
    assert quick.boot_ms == pytest.approx(slow.boot_ms, rel=0.01)
