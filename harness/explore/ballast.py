# SPDX-License-Identifier: MIT
"""A guest whose memory is nearly as full as it must be for the kernel to lend out its CMA areas.

From Linux 5.8 on it does where more than half of a zone's free pages are in areas
(``__rmqueue()`` in ``mm/page_alloc.c``), before that where nothing else is left.
"""

from __future__ import annotations

import re

from harness.explore.areas import PAGE
from harness.guest.guest import Guest

MARGIN = 4 << 10
"""KiB by which more is free beside the areas than in them: nobody gets a page of an area before
there is pressure, whatever processes start in a sequence.
"""
_PLACE = "/ballast"


def _spare(guest: Guest) -> int:
    """KiB that may be taken; none where it is less than 0."""
    fields = dict(line.split(":") for line in guest.read_text("/proc/meminfo").splitlines())
    free, lent = (int(fields[name].split()[0]) for name in ("MemFree", "CmaFree"))
    # Pages on a processor's own list count as used, and are had first.
    lists = re.findall(r"^ +count: +(\d+)$", guest.read_text("/proc/zoneinfo"), re.MULTILINE)
    return free + sum(map(int, lists)) * PAGE // 1024 - 2 * lent - MARGIN


def has_room(guest: Guest) -> bool:
    """Whether pressure leaves room for what it must not reach, and for all that is moved away."""
    return _spare(guest) >= 0


def weigh_down(guest: Guest) -> None:
    """Takes memory by a file that nobody touches again."""
    # Else the kernel may want more memory kept free, at times, than there is.
    guest.run(
        "[ ! -e /proc/sys/vm/watermark_boost_factor ] ||"
        " echo 0 >/proc/sys/vm/watermark_boost_factor"
    )
    guest.run(f"mkdir {_PLACE} && mount -t tmpfs -o size=100% none {_PLACE}")
    if (spare := _spare(guest)) > 0:
        guest.run(f"fallocate -l {spare}k {_PLACE}/file", 60)
