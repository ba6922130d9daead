# SPDX-License-Identifier: MIT
"""The memory maps of a result, before and after, as pictures of one scale and one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from harness.board import RAM_START
from harness.gate.report.mapdiff import Difference, Fate, differences
from harness.gate.result import Area, GateResult
from harness.memory.ranges import AddressRange, human_size
from harness.plaintext import line
from harness.report import bar


def before_and_after(result: GateResult) -> tuple[Markup | None, Markup | None]:
    """The two drawings; None for a map that is not known."""
    found = differences(result)
    before = _parts(
        result.map_before, {(item.name, item.before): item for item in found}, after=False
    )
    after = _parts(result.map_after, {(item.name, item.after): item for item in found}, after=True)
    after += [
        _part(item.name, item.before, _kind(item.before, item.cma, ()), "missing", ghost=True)
        for item in found
        if item.fate is Fate.MISSING and item.before is not None
    ]
    every = before + after
    if not every:
        return None, None
    scope = min(RAM_START, *(part.start for part in every)), max(part.end for part in every)
    height = bar.height_for(before, after)
    place = AddressRange(int(scope[0]), int(scope[1]))
    return (
        bar.draw(f"Memory map of the base, {place}", before, scope, height)
        if result.map_before
        else None,
        bar.draw(f"Memory map with the patch, {place}", after, scope, height)
        if result.map_after
        else None,
    )


def _part(
    name: str, span: AddressRange, kind: str, note: str = "", ghost: bool = False
) -> bar.Part:
    texts = (line(name), f"{span} {human_size(span.size)}", *([note] if note else []))
    return bar.Part(span.start, span.end, kind, texts, bool(note), ghost)


def _parts(
    areas: Sequence[Area],
    found: Mapping[tuple[str, AddressRange | None], Difference],
    *,
    after: bool,
) -> list[bar.Part]:
    spans = [area.span for area in areas]
    parts = []
    for area in areas:
        difference = found.get((area.name, area.span))
        note = _note(difference, after) if difference is not None else ""
        parts.append(_part(area.name, area.span, _kind(area.span, area.cma, spans), note))
    return parts


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
