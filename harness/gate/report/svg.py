# SPDX-License-Identifier: MIT
"""A memory map as SVG: a bar to scale, low addresses on top, and beside it each area's addresses.

The labels are as far apart as their text needs, and lines lead to them: small areas stay legible
however close they are. Both maps of a result have one scale and one size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from harness.board import RAM_START
from harness.gate.report.mapdiff import Difference, Fate, differences
from harness.gate.result import Area, GateResult
from harness.memory.ranges import AddressRange, human_size
from harness.plaintext import cut, line
from harness.report.element import element, join

_WIDTH = 360
_BAR_LEFT, _BAR_RIGHT, _TEXT_LEFT = 4, 58, 92
_CHARACTERS = 36
"""What fits beside the bar in a fixed-width font of 12 units."""
_LINE, _GAP, _MARGIN = 15, 9, 6
_LEAST_HEIGHT = 320
_LEAST_AREA = 3


@dataclasses.dataclass(frozen=True)
class _Item:
    """An area as one of the two maps shows it."""

    name: str
    span: AddressRange
    kind: str
    """Class of its look: ``cma``, ``other`` or ``holds`` (has other areas inside)."""
    note: str = ""
    """What differs; empty where nothing does."""
    ghost: bool = False
    """It is not there any more."""

    @property
    def texts(self) -> list[str]:
        """Its lines."""
        place = f"{self.span} {human_size(self.span.size)}"
        return [cut(text, _CHARACTERS) for text in (self.name, place, self.note) if text]

    @property
    def height(self) -> int:
        return len(self.texts) * _LINE + _GAP


def before_and_after(result: GateResult) -> tuple[Markup | None, Markup | None]:
    """The two drawings; None for a map that is not known."""
    found = differences(result)
    before = _items(
        result.map_before, {(item.name, item.before): item for item in found}, after=False
    )
    after = _items(result.map_after, {(item.name, item.after): item for item in found}, after=True)
    after += [
        _Item(line(item.name), item.before, _kind(item.before, item.cma, ()), "missing", ghost=True)
        for item in found
        if item.fate is Fate.MISSING and item.before is not None
    ]
    every = before + after
    if not every:
        return None, None
    scope = AddressRange(
        min(RAM_START, *(item.span.start for item in every)),
        max(item.span.end for item in every),
    )
    tallest = max(sum(item.height for item in items) for items in (before, after))
    height = max(_LEAST_HEIGHT, tallest)
    return (
        _drawing("Memory map of the base", before, scope, height) if result.map_before else None,
        _drawing("Memory map with the patch", after, scope, height) if result.map_after else None,
    )


def _items(
    areas: Sequence[Area],
    found: Mapping[tuple[str, AddressRange | None], Difference],
    *,
    after: bool,
) -> list[_Item]:
    spans = [area.span for area in areas]
    items = []
    for area in areas:
        difference = found.get((area.name, area.span))
        note = _note(difference, after) if difference is not None else ""
        items.append(_Item(line(area.name), area.span, _kind(area.span, area.cma, spans), note))
    return items


def _kind(span: AddressRange, cma: bool, spans: Sequence[AddressRange]) -> str:
    if cma:
        return "cma"
    return "holds" if any(other != span and other in span for other in spans) else "other"


def _note(difference: Difference, after: bool) -> str:
    if difference.fate is Fate.SAME:
        return ""
    if difference.before is None:
        return "new"
    if difference.after is None:
        return "missing in the patched system"
    if after:
        return difference.text
    return f"then {difference.after}"


def _drawing(title: str, items: Sequence[_Item], scope: AddressRange, height: int) -> Markup:
    def y(address: int) -> float:
        return _MARGIN + (address - scope.start) * height / scope.size

    def anchor(item: _Item) -> float:
        # One that holds others is named where it starts; its middle belongs to them.
        middle = (y(item.span.start) + y(item.span.end)) / 2
        return y(item.span.start) if item.kind == "holds" else middle

    ordered = sorted(items, key=lambda item: (anchor(item), -item.span.size))
    tops = _spread([(anchor(item) - item.height / 2, item.height) for item in ordered], height)
    largest_first = sorted(items, key=lambda item: -item.span.size)
    bar = [_box(item, y(item.span.start), y(item.span.end)) for item in largest_first]
    labels = [
        _label(item, anchor(item), _MARGIN + top) for item, top in zip(ordered, tops, strict=True)
    ]
    outline = element(
        "rect", class_="scope", x=_BAR_LEFT, y=_MARGIN, width=_BAR_RIGHT - _BAR_LEFT, height=height
    )
    summary = "; ".join(" ".join(item.texts) for item in ordered)
    return element(
        "svg",
        element("title", f"{title}, {scope}"),
        element("desc", summary),
        outline,
        join(bar),
        join(labels),
        class_="map",
        role="img",
        viewBox=f"0 0 {_WIDTH} {height + 2 * _MARGIN}",
    )


def _spread(wanted: Sequence[tuple[float, int]], height: int) -> list[float]:
    """Tops of labels (top, height) in this order, close to where they should be, none over one."""
    # Labels that would touch become a group, which lies where its labels want it on the average.
    groups: list[tuple[float, list[int]]] = []
    for top, size in wanted:
        group = (max(top, 0.0), [size])
        while groups and groups[-1][0] + sum(groups[-1][1]) > group[0]:
            group = _together(groups.pop(), group)
        groups.append(group)
    tops = [top + sum(sizes[:n]) for top, sizes in groups for n in range(len(sizes))]
    # Below the last there is none to push, above the first there is room: the sum of all fits.
    most = float(height)
    for index in range(len(tops) - 1, -1, -1):
        tops[index] = min(tops[index], most - wanted[index][1])
        most = tops[index]
    return tops


def _together(
    one: tuple[float, list[int]], other: tuple[float, list[int]]
) -> tuple[float, list[int]]:
    (top, sizes), (next_top, next_sizes) = one, other
    count = len(sizes) + len(next_sizes)
    shifted = next_top - sum(sizes)
    middle = (top * len(sizes) + shifted * len(next_sizes)) / count
    return max(middle, 0.0), sizes + next_sizes


def _box(item: _Item, top: float, bottom: float) -> Markup:
    classes = f"area {item.kind}" + (" changed" if item.note else "")
    return element(
        "rect",
        element("title", f"{item.name} {item.span}"),
        class_=classes + (" ghost" if item.ghost else ""),
        x=_BAR_LEFT,
        y=f"{top:.1f}",
        width=_BAR_RIGHT - _BAR_LEFT,
        height=f"{max(bottom - top, _LEAST_AREA):.1f}",
    )


def _label(item: _Item, anchor: float, top: float) -> Markup:
    middle = top + (item.height - _GAP) / 2
    edge = _TEXT_LEFT - 8
    lead = element(
        "path",
        class_="lead changed" if item.note else "lead",
        d=f"M{_BAR_RIGHT} {anchor:.1f}L{edge - 4} {middle:.1f}H{edge}",
    )
    texts = [
        element(
            "text",
            text,
            class_=("name", "place", "note")[index],
            x=_TEXT_LEFT,
            y=f"{top + (index + 1) * _LINE - 4:.1f}",
        )
        for index, text in enumerate(item.texts)
    ]
    return join([lead, *texts])
