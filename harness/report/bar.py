# SPDX-License-Identifier: MIT
"""A vertical bar to scale as SVG, low values on top, and beside it what lies where.

The labels are as far apart as their text needs, and lines lead to them: small parts stay legible
however close they are. Colours are classes of ``style.css``; `standalone` brings them along.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from markupsafe import Markup

from harness.plaintext import cut
from harness.report.element import element, join
from harness.report.page import STYLE

WIDTH = 360
CHARACTERS = 36
"""What fits beside the bar in a fixed-width font of 12 units."""
_BAR_LEFT, _BAR_RIGHT, _TEXT_LEFT = 4, 58, 92
_LINE, _GAP, _MARGIN = 15, 9, 6
_LEAST_HEIGHT = 320
_LEAST_PART = 3


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the bar, ``[start, end)``, with the lines of its label."""

    start: float
    end: float
    kind: str
    """Class of its look: ``cma``, ``other``, ``allocation`` or ``holds`` (others are inside)."""
    texts: tuple[str, ...]
    """Name, place, and what is to be noted of it."""
    changed: bool = False
    ghost: bool = False
    """It is not there any more."""

    @property
    def height(self) -> int:
        """Of its label."""
        return len(self.texts) * _LINE + _GAP


def height_for(*sides: Sequence[Part]) -> int:
    """A height that has room for the labels of each of several bars."""
    return max(_LEAST_HEIGHT, *(sum(part.height for part in parts) for parts in sides))


def draw(title: str, parts: Sequence[Part], scope: tuple[float, float], height: int) -> Markup:
    """The drawing of what lies in `scope`, from its start to its end."""

    def y(value: float) -> float:
        return _MARGIN + (value - scope[0]) * height / (scope[1] - scope[0])

    def anchor(part: Part) -> float:
        # One that holds others is named where it starts; its middle belongs to them.
        return y(part.start) if part.kind == "holds" else (y(part.start) + y(part.end)) / 2

    ordered = sorted(parts, key=lambda part: (anchor(part), part.start - part.end))
    tops = spread([(anchor(part) - part.height / 2, part.height) for part in ordered], height)
    largest_first = sorted(parts, key=lambda part: part.start - part.end)
    bar = [_box(part, y(part.start), y(part.end)) for part in largest_first]
    labels = [
        _label(part, anchor(part), _MARGIN + top) for part, top in zip(ordered, tops, strict=True)
    ]
    outline = element(
        "rect", class_="scope", x=_BAR_LEFT, y=_MARGIN, width=_BAR_RIGHT - _BAR_LEFT, height=height
    )
    return element(
        "svg",
        element("title", title),
        element("desc", "; ".join(" ".join(part.texts) for part in ordered)),
        outline,
        join(bar),
        join(labels),
        class_="map",
        role="img",
        viewBox=f"0 0 {WIDTH} {height + 2 * _MARGIN}",
    )


def standalone(drawing: Markup) -> str:
    """A drawing as a file of its own, with the colours of the pages, light and dark."""
    sheet = STYLE.read_text()
    colours = sheet[sheet.index(":root") : sheet.index("* {")]
    looks = "\n".join(re.findall(r"(?m)^svg [^\n]*$", sheet))
    ground = "svg { background: var(--page); }"
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="540"'
    style = Markup("<style>\n{}</style>").format(Markup(f"{colours}{looks}\n{ground}\n"))
    body = str(drawing).replace("<svg", head, 1)
    return body.replace(">", f">{style}", 1) + "\n"


def spread(wanted: Sequence[tuple[float, int]], height: int) -> list[float]:
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


def _box(part: Part, top: float, bottom: float) -> Markup:
    classes = f"area {part.kind}" + (" changed" if part.changed else "")
    return element(
        "rect",
        element("title", " ".join(part.texts[:2])),
        class_=classes + (" ghost" if part.ghost else ""),
        x=_BAR_LEFT,
        y=f"{top:.1f}",
        width=_BAR_RIGHT - _BAR_LEFT,
        height=f"{max(bottom - top, _LEAST_PART):.1f}",
    )


def _label(part: Part, anchor: float, top: float) -> Markup:
    middle = top + (part.height - _GAP) / 2
    edge = _TEXT_LEFT - 8
    lead = element(
        "path",
        class_="lead changed" if part.changed else "lead",
        d=f"M{_BAR_RIGHT} {anchor:.1f}L{edge - 4} {middle:.1f}H{edge}",
    )
    texts = [
        element(
            "text",
            cut(text, CHARACTERS),
            class_=("name", "place", "note")[index],
            x=_TEXT_LEFT,
            y=f"{top + (index + 1) * _LINE - 4:.1f}",
        )
        for index, text in enumerate(part.texts)
    ]
    return join([lead, *texts])
