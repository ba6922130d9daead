# SPDX-License-Identifier: MIT
"""The CMA alignment is read from the kernel that runs, not taken for granted."""

from __future__ import annotations

import pytest

from harness.guest.guest import Guest
from harness.memory import cma_alignment

MIB = 1 << 20


@pytest.mark.every_kernel
def test_a_running_kernel_says_its_alignment(guest: Guest) -> None:
    assert cma_alignment(guest.read_text("/proc/pagetypeinfo")) == 4 * MIB


@pytest.mark.machine("cold", append="cma=5M")
def test_what_was_asked_for_is_rounded_by_it(guest: Guest) -> None:
    area = guest.memory_map().area("reserved")
    assert area.range.size == 8 * MIB
    assert "command line" in area.witnesses
