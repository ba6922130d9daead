# SPDX-License-Identifier: MIT
"""One CMA area as the model has it: which pages are taken, lent and pinned, and its counters."""

from __future__ import annotations

import dataclasses

from harness.explore.firstfit import FirstFit

PAGE = 4096


@dataclasses.dataclass(frozen=True)
class AreaSpec:
    """A CMA area: its name, the physical address of its first byte, and its size in pages."""

    name: str
    base: int
    pages: int
    foreign: tuple[tuple[int, int], ...] = ()
    """First page and count of what others have of it from the boot on."""

    @property
    def free(self) -> list[tuple[int, int]]:
        """First page and count of what nobody has at the boot."""
        found, at = [], 0
        for first, count in (*sorted(self.foreign), (self.pages, 0)):
            if first > at:
                found.append((at, first - at))
            at = first + count
        return found


@dataclasses.dataclass(eq=False)
class Region:
    """Pages that an opener has."""

    first: int
    count: int
    mappings: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """First page (from the region's start) and count of each mapping, the newest first."""
    nonce: int | None = None
    """Of the pattern that fills it; None: zeroes."""
    inherited: int = 0
    """Mappings that children have of it."""


class AreaModel(FirstFit):
    """One area: which pages are taken, and the kernel's counters of it, in pages."""

    def __init__(self, spec: AreaSpec) -> None:
        super().__init__(spec.pages)
        self.spec = spec
        for first, count in spec.foreign:
            self.take(first, count)
        self.allocated = 0
        """Pages that allocations got since the start (``alloc_pages_success`` in sysfs)."""
        self.failed = 0
        """Pages of allocations that failed (``alloc_pages_fail``)."""
        self.successes = 0
        self.failures = 0
        """Calls of both kinds."""
        self.unknown: set[int] = set()
        """Pages whose content is not ours to know: they were given back, and the kernel may lend
        them to whoever needs movable memory.
        """
        self.pinned: list[int] = []
        """Pages with somebody's data that cannot be moved away."""
        self.debug: list[tuple[int, int]] = []
        """What was allocated through debugfs: first page and count, the newest first."""

    def address(self, page: int) -> int:
        """Physical address of a page."""
        return self.spec.base + page * PAGE

    def fits(self, first: int, count: int) -> bool:
        """As of `FirstFit`; with a pinned page the kernel passes a place over."""
        pinned = any(first <= page < first + count for page in self.pinned)
        return not pinned and super().fits(first, count)

    def lend(self) -> None:
        """Others may use what nobody has, from now on: it may be written, and is not emptied."""
        self.unknown.update(page for page, taken in enumerate(self.taken) if not taken)

    def alloc(self, count: int, alignment: int | None = None) -> int | None:
        """As of `FirstFit`; counted too."""
        first = super().alloc(count, alignment)
        if first is None:
            self.failed += count
            self.failures += 1
        else:
            self.allocated += count
            self.successes += 1
        return first

    def release(self, first: int, count: int) -> None:
        """Gives pages back."""
        super().release(first, count)
        self.unknown.update(range(first, first + count))
