# SPDX-License-Identifier: MIT
"""The memory map as text: RAM banks, the kernel, CMA areas, and allocations drawn into them.

A bar shows its area in equal cells. A cell is full only where an allocation covers all of it, and
marked as partly covered where it covers at least a byte: small allocations are seen, not enlarged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.memory.memorymap import MemoryMap
from harness.memory.model import CmaArea
from harness.memory.ranges import AddressRange, human_size, merged

_MAX_WIDTH = 100
_BAR = 32
_SHOWN_ALLOCATIONS = 8


@dataclasses.dataclass(frozen=True)
class _Glyphs:
    full: str
    part: str
    free: str
    left: str
    right: str
    branch: str
    last: str
    rail: str
    gap: str
    cut: str


_UNICODE = _Glyphs("█", "▒", "·", "▕", "▏", "├ ", "└ ", "│ ", "other memory", "…")
_ASCII = _Glyphs("#", "+", ".", "[", "]", "|- ", "`- ", "|  ", "other memory", "~")


@dataclasses.dataclass(frozen=True)
class _Row:
    range: AddressRange | None
    label: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class _Item:
    """Something in a bank: its own row and the rows below it."""

    range: AddressRange
    label: str
    note: str = ""
    children: tuple[_Row, ...] = ()


def render_map(
    memory_map: MemoryMap,
    allocations: Sequence[AddressRange] = (),
    *,
    expected: str | None = None,
    ascii_only: bool = False,
    width: int = _MAX_WIDTH,
) -> str:
    """The map as lines of at most ``width`` columns, without a newline at the end.

    ``expected`` is the name of the area to be marked. Ranges are printed with the last address
    inside.
    """
    glyphs = _ASCII if ascii_only else _UNICODE
    drawing = _Drawing(memory_map, tuple(allocations), expected, glyphs)
    lines = drawing.table(width) + drawing.footer()
    return "\n".join(_fitted(line, width, glyphs) for line in lines)


def render_bar(
    area: AddressRange, allocations: Sequence[AddressRange], cells: int, *, ascii_only: bool = False
) -> str:
    """The area as ``cells`` characters, in address order."""
    glyphs = _ASCII if ascii_only else _UNICODE
    covered = merged(place for a in allocations if (place := a.intersection(area)) is not None)
    return "".join(_cell(area, covered, index, cells, glyphs) for index in range(cells))


def _cell(
    area: AddressRange, covered: Sequence[AddressRange], index: int, cells: int, glyphs: _Glyphs
) -> str:
    # in units of 1/cells byte, so that no cell is rounded
    start, end = index * area.size, (index + 1) * area.size
    touched = False
    for place in covered:
        first, last = (place.start - area.start) * cells, (place.end - area.start) * cells
        if first <= start and end <= last:
            return glyphs.full
        touched = touched or (first < end and start < last)
    return glyphs.part if touched else glyphs.free


class _Drawing:
    def __init__(
        self,
        memory_map: MemoryMap,
        allocations: tuple[AddressRange, ...],
        expected: str | None,
        glyphs: _Glyphs,
    ) -> None:
        self._map, self._allocations = memory_map, allocations
        self._expected, self._glyphs = expected, glyphs

    def table(self, width: int) -> list[str]:
        rows = self._rows()
        if not rows:
            return ["(nothing is known of this memory)"]
        ranges = [str(row.range) if row.range else "" for row in rows]
        sizes = [human_size(row.range.size) if row.range else "" for row in rows]
        places, amounts = max(map(len, ranges)), max(map(len, sizes))
        labels = max(len(row.label) for row in rows if row.note) if any(r.note for r in rows) else 0
        labels = min(labels, width - places - amounts - _BAR - 8)
        return [
            f"{place:<{places}}  {size:>{amounts}}  "
            f"{self._padded(row.label, labels) if row.note else row.label}  {row.note}".rstrip()
            for row, place, size in zip(rows, ranges, sizes, strict=True)
        ]

    def footer(self) -> list[str]:
        glyphs = self._glyphs
        lines = []
        if self._allocations and self._map.areas:
            lines.append(
                f"{glyphs.full} allocated   {glyphs.part} partly   {glyphs.free} not by this "
                f"(a bar is {_BAR} equal cells)"
            )
        for area in self._map.areas:
            size = "" if area.exact else ", at least: its size is known rounded down only"
            lines.append(f"{area.name}: {', '.join(area.witnesses) or 'given'}{size}")
        lines += [f"not on the map: {item.name}: {item.reason}" for item in self._map.unplaced]
        lines += [f"absent: {item.witness}: {item.reason}" for item in self._map.absent]
        return ["", *lines] if lines else []

    def _padded(self, label: str, width: int) -> str:
        if len(label) > width:
            label = label[: max(width - 1, 0)] + self._glyphs.cut
        return label.ljust(width)

    def _rows(self) -> list[_Row]:
        items = sorted(self._items(), key=lambda item: item.range)
        rows: list[_Row] = []
        banks = merged(self._map.ram)
        for bank in banks:
            rows += self._outside([i for i in items if i.range.start < bank.start], banks)
            items = [i for i in items if i.range.start >= bank.start]
            inside = [i for i in items if i.range in bank]
            rows += self._bank(bank, inside)
            items = [i for i in items if i not in inside]
        return rows + self._outside(items, banks)

    def _outside(self, items: Sequence[_Item], banks: Sequence[AddressRange]) -> list[_Row]:
        rows: list[_Row] = []
        for item in items:
            known = " (outside RAM)" if banks else ""
            rows.append(_Row(item.range, item.label + known, item.note))
            rows += self._indented(item.children, "  ")
        return rows

    def _bank(self, bank: AddressRange, items: Sequence[_Item]) -> list[_Row]:
        glyphs = self._glyphs
        source = f" ({self._map.ram_source})" if self._map.ram_source else ""
        entries: list[_Item] = []
        cursor = bank.start
        for item in items:
            if item.range.start > cursor:
                entries.append(_Item(AddressRange(cursor, item.range.start), glyphs.gap))
            entries.append(item)
            cursor = max(cursor, item.range.end)
        if entries and cursor < bank.end:
            entries.append(_Item(AddressRange(cursor, bank.end), glyphs.gap))
        rows = [_Row(bank, f"RAM{source}")]
        for index, item in enumerate(entries):
            last = index == len(entries) - 1
            rows.append(
                _Row(item.range, (glyphs.last if last else glyphs.branch) + item.label, item.note)
            )
            rows += self._indented(item.children, " " * len(glyphs.rail) if last else glyphs.rail)
        return rows

    def _indented(self, children: Sequence[_Row], rail: str) -> list[_Row]:
        rows = []
        for index, child in enumerate(children):
            mark = self._glyphs.last if index == len(children) - 1 else self._glyphs.branch
            rows.append(_Row(child.range, rail + mark + child.label, child.note))
        return rows

    def _items(self) -> list[_Item]:
        items = [_Item(part.range, part.name) for part in self._map.kernel]
        items += [self._area_item(area) for area in self._map.areas]
        for label, place in self._labelled():
            for rest in self._outside_areas(place):
                items.append(_Item(rest, f"{label}: in no CMA area"))
        return items

    def _labelled(self) -> list[tuple[str, AddressRange]]:
        if len(self._allocations) == 1:
            return [("allocation", self._allocations[0])]
        return [(f"allocation {n}", place) for n, place in enumerate(self._allocations, start=1)]

    def _area_item(self, area: CmaArea) -> _Item:
        glyphs = self._glyphs
        ascii_only = glyphs is _ASCII
        bar = render_bar(area.range, self._allocations, _BAR, ascii_only=ascii_only)
        marked = " expected" if area.name == self._expected else ""
        rows = []
        for label, place in self._labelled():
            shared = place.intersection(area.range)
            if shared is not None:
                offset = shared.start - area.range.start
                where = f"{human_size(offset)} from its start" if offset else "at its start"
                part = "" if shared == place else ", in part"
                rows.append(_Row(shared, label, where + part))
        if len(rows) > _SHOWN_ALLOCATIONS:
            more = len(rows) - _SHOWN_ALLOCATIONS
            rows = [*rows[:_SHOWN_ALLOCATIONS], _Row(None, f"and {more} more allocations")]
        note = f"{glyphs.left}{bar}{glyphs.right}{marked}"
        return _Item(area.range, area.name, note, tuple(rows))

    def _outside_areas(self, place: AddressRange) -> list[AddressRange]:
        """The parts of an allocation in no area, cut where RAM begins and ends."""
        rest = [place]
        for area in self._map.areas:
            rest = [part for piece in rest for part in piece.without(area.range)]
        banks = merged(self._map.ram)
        cut = [shared for piece in rest for bank in banks if (shared := piece.intersection(bank))]
        for bank in banks:
            rest = [part for piece in rest for part in piece.without(bank)]
        return cut + rest


def _fitted(line: str, width: int, glyphs: _Glyphs) -> str:
    return line if len(line) <= width else line[: width - 1] + glyphs.cut
