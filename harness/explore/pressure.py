# SPDX-License-Identifier: MIT
"""Memory pressure and pins, as a part of the model.

The kernel lends free pages of CMA areas to movable data, and moves these away when they are wanted
(``alloc_contig_range()`` in ``mm/page_alloc.c``): an allocation gets the place that it would have
got without them. What is pinned for I/O cannot be moved; ``cma_alloc()`` passes such a place over.
Which page is pinned is known by the guest's answer alone, and the model goes on from that.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.explore.areas import PAGE, AreaModel

PRESSURE = ("pressure", "pin", "unpin", "relief")
"""The operations."""
KINDS = ("tmpfs", "anon")
"""Movable data: a file in tmpfs, and a process's own memory; commands of the application."""
DATA = 10 << 20
"""Bytes of it, of which a third or so is in the areas."""
PINS = 4
"""Pages that may be pinned at once: each costs the kernel milliseconds where it is in the way."""
_NONCE = 0xC0FFEE << 32
"""Of the first data's pattern: none of a region's."""


class PressureModel:
    """A process that is no opener: its data, and which of it is pinned."""

    def __init__(self, areas: Sequence[AreaModel], pressure: bool) -> None:
        self.areas = list(areas)
        self.pressure = pressure
        """Whether this system has what these operations need."""
        self._used = False
        """Whether the process has its data now."""
        self._patterns = 0
        self._asked = 0

    def _do_pressure(self, kind: int) -> tuple[str, str] | None:
        """Data for which the kernel takes pages of the areas."""
        if self._used or not self.pressure:
            return None
        self._used = True
        self._patterns += 1
        for area in self.areas:
            area.lend()
        return f"{KINDS[kind]} {_NONCE + self._patterns:x} {DATA}", "ok"

    def _do_relief(self, _kind: int) -> tuple[str, str] | None:
        """The data is as it was, and goes."""
        if not self._used or any(area.pinned for area in self.areas):
            return None
        self._used = False
        return "anon-check; anon-free", "ok"

    def _do_pin(self, area: int, page: int) -> tuple[str, str] | None:
        """Pins the first page of the data in an area, from a page on."""
        if not self._used or sum(len(area.pinned) for area in self.areas) >= PINS:
            return None
        self._asked = area
        spec = self.areas[area].spec
        page %= spec.pages
        address = self.areas[area].address(page)
        return f"hold {address} {(spec.pages - page) * PAGE}", "ok"

    def learn(self, answer: str) -> str:
        """Takes the right answer to a pin; why it is not right after all, or nothing.

        A page that an allocation has cannot have anybody's data.
        """
        word = answer.split()[1:]
        if word == ["none"]:
            return ""
        area = self.areas[self._asked]
        try:
            page, rest = divmod(int(word[0], 0) - area.spec.base, PAGE)
        except (ValueError, IndexError):
            return "neither an address nor none"
        if rest or not 0 <= page < area.spec.pages:
            return f"no page of {area.spec.name}"
        if area.taken[page]:
            return f"a page of {area.spec.name} that is allocated"
        area.pinned.append(page)
        return ""

    def _do_unpin(self, _kind: int) -> tuple[str, str] | None:
        """Nothing is pinned any more; the data is as it was."""
        if not any(area.pinned for area in self.areas):
            return None
        for area in self.areas:
            area.pinned.clear()
        return "unpin; anon-check", "ok"

    def closing(self) -> str | None:
        """What is asked of the process when a sequence has ended; None where it has no data."""
        return "anon-check" if self._used else None
