# SPDX-License-Identifier: MIT
"""Where Linux must place the areas of a layout, by its own rules.

The rules are those of drivers/of/of_reserved_mem.c (nodes), kernel/dma/contiguous.c (``cma=`` and
Kbuild), mm/cma.c (what an area must be) and mm/memblock.c (top down in the first free range that
fits).
"""

from __future__ import annotations

import dataclasses
import itertools
import re

from harness.board import RAM_START
from harness.memory.ranges import AddressRange

from .model import MIB, Area, Layout

PAGE = 4096
MIN_ALIGNMENT = 4 * MIB
"""``CMA_MIN_ALIGNMENT_BYTES``: a pageblock, of order 10 on ARM without huge pages, unless
``CONFIG_ARCH_FORCE_MAX_ORDER`` says otherwise.
"""
SLOTS = 8
"""``MAX_CMA_AREAS``: 1 + CONFIG_CMA_AREAS (7) up to 6.11 or so, CONFIG_CMA_AREAS (8) later."""
PAGE_OFFSET, VMALLOC_END, VMALLOC_OFFSET = 0x80000000, 0xFF800000, 8 * MIB
"""ARM, 2 GiB split (arch/arm/include/asm/pgtable.h)."""
INITRD_OFFSET = 128 * MIB
"""QEMU puts the initrd at half of RAM, at most here, and the device tree behind it
(``hw/arm/boot.c``).
"""
COMMAND_LINE_AREA = "reserved"
"""The name of the area that ``cma=`` or Kbuild makes (dma_contiguous_reserve_area())."""
COMMAND_LINE_WINS = (5, 10)
"""From here on ``cma=`` has precedence over the tree's default; before, it counts only where the
tree has none (rmem_cma_setup()).
"""
VMALLOC_GAP = (5, 14)
"""From here on low memory ends `VMALLOC_OFFSET` below what ``vmalloc=`` asks for; before, only
where it asks for nothing (early_vmalloc()).
"""
KEEPS_NEIGHBOURS = (6, 6)
"""From here on a window that starts or ends at an area already placed is filled from there
(__reserved_mem_alloc_in_range()).
"""
STATIC_LATE = (6, 12)
"""From here on nodes with ``reg`` become areas after ``cma=`` and Kbuild had their turn; so does a
static ``linux,cma-default`` (fdt_scan_reserved_mem_reg_nodes()).
"""
BYPASSED_IS_FREE = (7, 1)
"""From here on a default node that ``cma=`` bypasses takes no memory at all, not even for a moment
(rmem_cma_validate()).
"""

_RANGE = re.compile(r"(?:^| )cma=(\d+)M?(?:@(0x[0-9a-f]+)(?:-(0x[0-9a-f]+))?)?")
"""``cma=SIZE``, ``cma=SIZE@BASE``, ``cma=SIZE@BASE-LIMIT`` (early_cma())."""
_VMALLOC = re.compile(r"((?:^| )vmalloc=)(\d+)M")


@dataclasses.dataclass(frozen=True)
class Boot:
    """What the placement depends on besides the layout."""

    version: tuple[int, int]
    kernel_end: int
    """First address behind the kernel's image."""
    initrd_size: int
    default_size: int = 16 * MIB
    """``CONFIG_CMA_SIZE_MBYTES``."""
    alignment: int = MIN_ALIGNMENT
    """Of every area, in bytes."""


@dataclasses.dataclass
class ExpectedPlacement:
    """``areas``: name to range. ``refused``: name to why there is no such area. ``default``: the
    area of devices that name none.
    """

    areas: dict[str, AddressRange] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    default: AddressRange | None = None
    total: int = 0
    """Bytes of all areas that were made and activated: ``CmaTotal``."""
    overlaps: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """Neighbouring static regions that share memory, the lower first: the kernel warns of them."""


def place(layout: Layout, boot: Boot) -> ExpectedPlacement:
    """The areas that a right kernel makes of `layout`."""
    return _Placing(layout, boot).run()


def command_line(layout: Layout, version: tuple[int, int]) -> str:
    """The layout's words for the kernel's command line. Where ``vmalloc=`` still left no gap before
    it, 8 MiB more of it put the end of low memory at the same place.
    """
    if version >= VMALLOC_GAP:
        return layout.append
    more = VMALLOC_OFFSET // MIB
    return _VMALLOC.sub(lambda match: f"{match[1]}{int(match[2]) + more}M", layout.append)


def lowmem_end(layout: Layout) -> int:
    """First address of high memory, or of nothing (adjust_lowmem_bounds())."""
    ram_end = RAM_START + layout.memory_mib * MIB
    match = _VMALLOC.search(layout.append)
    size = int(match[2]) * MIB if match else 240 * MIB
    size = min(size, VMALLOC_END - (PAGE_OFFSET + 32 * MIB + VMALLOC_OFFSET))
    return min(ram_end, VMALLOC_END - size - VMALLOC_OFFSET - PAGE_OFFSET + RAM_START)


class _Placing:
    def __init__(self, layout: Layout, boot: Boot) -> None:
        self._layout = layout
        self._boot = boot
        self._alignment = boot.alignment
        self._ram = AddressRange.from_size(RAM_START, layout.memory_mib * MIB)
        self._low_end = lowmem_end(layout)
        initrd = RAM_START + min(layout.memory_mib * MIB // 2, INITRD_OFFSET)
        self._reserved = [
            AddressRange(RAM_START, boot.kernel_end),
            AddressRange.from_size(initrd, boot.initrd_size + 256 * 1024),
        ]
        self._placed: list[AddressRange] = []
        self._made = 0
        self._result = ExpectedPlacement()
        self._command_line = _RANGE.search(layout.append)

    def run(self) -> ExpectedPlacement:
        nodes = [area for area in self._layout.areas if area.enabled and not self._skipped(area)]
        for area in [area for area in nodes if area.malformed]:
            nodes.remove(area)
            self._refuse(area.name, f"its {area.malformed} is malformed")
        static = [area for area in nodes if area.at is not None]
        dynamic = [area for area in nodes if area.at is None]
        self._result.overlaps = _overlaps(static)
        for area in static:
            for range_ in (AddressRange.from_size(area.at or 0, area.size or 1), *area.more):
                self._reserved.append(range_)
        for area in dynamic:
            self._dynamic(area)
        if self._boot.version < STATIC_LATE:
            for area in sorted(static, key=lambda area: area.at or 0):
                self._static(area)
        self._by_command_line()
        if self._boot.version >= STATIC_LATE:
            for area in static:
                self._static(area)
        return self._activate()

    def _skipped(self, area: Area) -> bool:
        is_default = area.default and area.reusable and area.compatible != ""
        if not is_default or self._command_line is None or self._boot.version < BYPASSED_IS_FREE:
            return False
        self._refuse(area.name, "the command line has precedence")
        return True

    def _static(self, area: Area) -> None:
        if area.size == 0:
            self._refuse(area.name, "its size is zero")
            return
        self._make(area, AddressRange.from_size(area.at or 0, area.size))

    def _dynamic(self, area: Area) -> None:
        # A bypassed default node has taken its window for a moment, and given it back.
        alignment = area.alignment or 64
        if area.alignment is not None and area.alignment_cells != 1:
            self._refuse(area.name, "its alignment has the wrong number of cells")
            return
        if area.reusable and area.compatible:
            alignment = max(alignment, self._alignment)
        for window in area.windows or (self._ram,):
            found = self._find(area.size, alignment, window, bool(area.windows))
            if found is not None:
                self._make(area, found)
                return
        self._refuse(area.name, "there is no room for it")

    def _find(
        self, size: int, alignment: int, window: AddressRange, named: bool = False
    ) -> AddressRange | None:
        """As memblock does: the highest place, or the lowest next to a neighbour."""
        if size == 0:
            return None
        start, end = max(window.start, self._ram.start), min(window.end, self._ram.end)
        if self._bottom_up(window) and named:
            base = -(-start // alignment) * alignment
            while base + size <= end:
                clash = self._clash(base, size)
                if clash is None:
                    return AddressRange.from_size(base, size)
                base = -(-clash.end // alignment) * alignment
            return None
        top = end
        while top - size >= start:
            base = (top - size) // alignment * alignment
            if base < start:
                return None
            clash = self._clash(base, size)
            if clash is None:
                return AddressRange.from_size(base, size)
            top = clash.start
        return None

    def _clash(self, base: int, size: int) -> AddressRange | None:
        wanted = AddressRange.from_size(base, size)
        return next((taken for taken in self._reserved if taken.overlaps(wanted)), None)

    def _bottom_up(self, window: AddressRange) -> bool:
        if self._boot.version < KEEPS_NEIGHBOURS:
            return False
        up = any(item.start <= window.start <= item.end for item in self._placed)
        down = any(item.start <= window.end <= item.end for item in self._placed)
        return up and not down

    def _make(self, area: Area, place: AddressRange) -> None:
        """What rmem_cma_setup() and cma_init_reserved_mem() demand."""
        if area.at is None:
            self._placed.append(place)
        if not area.compatible:
            self._reserved.append(place)
            return
        if area.default and self._command_line and self._boot.version >= COMMAND_LINE_WINS:
            self._refuse(area.name, "the command line has precedence")
        elif not area.reusable or not area.mapped:
            self._refuse(area.name, "it is not reusable")
        elif place not in self._ram:
            self._refuse(area.name, "there is no RAM")
        elif (place.start | place.size) % self._alignment:
            self._refuse(area.name, "it is not aligned")
        elif self._made == SLOTS:
            self._refuse(area.name, "there are too many areas")
        else:
            self._add(area.name, place)
            if area.default:
                self._result.default = place

    def _by_command_line(self) -> None:
        match = self._command_line
        wins = self._boot.version >= COMMAND_LINE_WINS
        if self._result.default is not None and (match is None or not wins):
            return
        size = int(match[1]) * MIB if match else self._boot.default_size
        if size == 0:
            return
        size = -(-size // self._alignment) * self._alignment
        if match is None or not match[2]:
            found = self._between(size, RAM_START, self._ram.end)
        elif not match[3] or int(match[3], 16) == int(match[2], 16) + int(match[1]) * MIB:
            found = self._fixed(AddressRange.from_size(int(match[2], 16), size))
        else:
            found = self._between(size, int(match[2], 16), int(match[3], 16))
        if found is None:
            if match is not None:
                self._refuse(COMMAND_LINE_AREA, "it cannot be placed where it was asked for")
        elif self._made == SLOTS:
            self._refuse(COMMAND_LINE_AREA, "there are too many areas")
        else:
            self._add(COMMAND_LINE_AREA, found)
            self._result.default = found

    def _add(self, name: str, place: AddressRange) -> None:
        self._made += 1
        self._result.total += place.size
        self._reserved.append(place)
        if name in self._result.areas:
            del self._result.areas[name]
            self._refuse(name, "there are two of that name")
        else:
            self._result.areas[name] = place

    def _fixed(self, wanted: AddressRange) -> AddressRange | None:
        """``cma=SIZE@BASE``: there or nowhere (cma_declare_contiguous_nid())."""
        crosses = wanted.start < self._low_end < wanted.end
        outside = wanted.start < self._ram.start or wanted.end > min(self._low_end, self._ram.end)
        if wanted.start % self._alignment or crosses or outside:
            return None
        return wanted if self._clash(wanted.start, wanted.size) is None else None

    def _between(self, size: int, base: int, limit: int) -> AddressRange | None:
        """The highest place in a range: where the border of low memory is in it, above that, else
        below (cma_declare_contiguous_nid(), cma_alloc_mem()).
        """
        start = -(-base // self._alignment) * self._alignment
        end = min(limit, self._ram.end) // self._alignment * self._alignment
        if start + size > end:
            return None
        parts = [(start, end)]
        if start < self._low_end < end:
            parts = [(self._low_end, end), (start, self._low_end)]
        places = (self._find(size, self._alignment, AddressRange(*part)) for part in parts)
        return next((place for place in places if place is not None), None)

    def _refuse(self, name: str, why: str) -> None:
        self._result.refused[name] = why

    def _activate(self) -> ExpectedPlacement:
        """cma_activate_area(): one zone only."""
        for name, place in list(self._result.areas.items()):
            if place.start < self._low_end < place.end:
                del self._result.areas[name]
                self._result.total -= place.size
                self._refuse(name, "it is in two zones")
        return self._result


def _overlaps(static: list[Area]) -> list[tuple[str, str]]:
    """By base, then by size, each with the next one (__rmem_check_for_overlap())."""
    inorder = sorted(static, key=lambda area: (area.at or 0, area.size))
    return [
        (low.name, high.name)
        for low, high in itertools.pairwise(inorder)
        if (low.at or 0) + low.size > (high.at or 0)
    ]
