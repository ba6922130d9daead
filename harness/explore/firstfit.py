# SPDX-License-Identifier: MIT
"""First fit, as ``cma_alloc()`` places regions (``mm/cma.c``), in pages from the start of an area.

The areas here begin at multiples of every alignment that is asked for.
"""

from __future__ import annotations

MAX_ALIGN = 1 << 8
"""In pages: the driver asks for the order of its length, and ``CONFIG_CMA_ALIGNMENT`` is 8."""


def alignment_of(count: int) -> int:
    """Pages to which the driver's allocation of `count` pages is aligned."""
    return int(min(1 << (count - 1).bit_length(), MAX_ALIGN))


class FirstFit:
    """Which pages of an area are taken."""

    def __init__(self, pages: int) -> None:
        self.taken = bytearray(pages)

    @property
    def used(self) -> int:
        """Pages that are taken."""
        return self.taken.count(1)

    def alloc(self, count: int, alignment: int | None = None) -> int | None:
        """The first page of a new region, aligned as the driver asks for unless that is given; None
        where there is no room.
        """
        for first in range(0, len(self.taken) - count + 1, alignment or alignment_of(count)):
            if self.fits(first, count):
                self.take(first, count)
                return first
        return None

    def fits(self, first: int, count: int) -> bool:
        """Whether nobody has any of these pages."""
        return self.taken.find(1, first, first + count) < 0

    def take(self, first: int, count: int) -> None:
        """Marks pages as taken."""
        self.taken[first : first + count] = b"\1" * count

    def release(self, first: int, count: int) -> None:
        """Gives pages back."""
        self.taken[first : first + count] = bytes(count)
