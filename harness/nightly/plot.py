# SPDX-License-Identifier: MIT
"""A trend as an SVG: points over nights, axes with units. Colours are classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from harness.nightly.history import Trend

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 24, 38
COLOURS = 6
"""Classes ``c0`` to ``c5``; more series use them again, with another dash."""
_DASHES = ("", "6 3", "2 3")


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers whose first and last enclose `low` and `high`."""
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    low, high = low - margin if low < 0 else max(0.0, low - margin), high + margin
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step)
    return [step * number for number in range(first, math.ceil(high / step) + 1)]


def mark(index: int) -> tuple[str, str]:
    """Class and dash of a series."""
    return f"c{index % COLOURS}", _DASHES[index // COLOURS % len(_DASHES)]


def plot(trend: Trend, nights: Sequence[str]) -> Markup:
    """The SVG; `nights` are short names, one a night."""
    values = [value for points in trend.series.values() for _, value in points]
    scale = ticks(min(values), max(values))
    if trend.unit == "%":
        scale = [tick for tick in scale if tick <= 100]
        scale += [] if scale[-1] >= max(values) else [100.0]
    parts = [_axis_y(scale, trend), _axis_x(nights)]
    for index, (name, points) in enumerate(trend.series.items()):
        parts.append(_series(index, name, points, scale, nights, trend.unit))
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{} in {} over {} nights">{}</svg>'
    ).format(WIDTH, HEIGHT, trend.name, trend.unit, len(nights), Markup("").join(parts))


def _x(index: int, count: int) -> float:
    span = WIDTH - LEFT - RIGHT
    return LEFT + span * (index + 0.5) / count


def _y(value: float, scale: Sequence[float]) -> float:
    span = HEIGHT - TOP - BOTTOM
    return HEIGHT - BOTTOM - span * (value - scale[0]) / (scale[-1] - scale[0])


def _axis_y(scale: Sequence[float], trend: Trend) -> Markup:
    parts = [Markup('<text x="4" y="14" class="axis">{}</text>').format(trend.unit)]
    for tick in scale:
        y = round(_y(tick, scale), 1)
        parts.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{y}" y2="{y}" class="grid"/>'
                '<text x="{}" y="{}" class="tick end">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, LEFT - 6, y + 4, f"{tick:.6g}", y=y)
        )
    return Markup("").join(parts)


def _axis_x(nights: Sequence[str]) -> Markup:
    parts = []
    every = math.ceil(len(nights) / 5)
    last = len(nights) - 1
    for index, name in enumerate(nights):
        if (last - index) % every:
            continue
        parts.append(
            Markup('<text x="{}" y="{}" class="tick middle">{}</text>').format(
                round(_x(index, len(nights)), 1), HEIGHT - BOTTOM + 16, name
            )
        )
    parts.append(
        Markup('<text x="{}" y="{}" class="axis middle">night</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5
        )
    )
    return Markup("").join(parts)


def _series(
    index: int,
    name: str,
    points: Sequence[tuple[int, float]],
    scale: Sequence[float],
    nights: Sequence[str],
    unit: str,
) -> Markup:
    colour, dash = mark(index)
    places = [
        (round(_x(night, len(nights)), 1), round(_y(value, scale), 1)) for night, value in points
    ]
    line = " ".join(f"{x},{y}" for x, y in places)
    parts = [
        Markup('<polyline points="{}" class="line {}" stroke-dasharray="{}"/>').format(
            line, colour, dash
        )
    ]
    for (x, y), (night, value) in zip(places, points, strict=True):
        said = f"{name}, {nights[night]}: {value:.6g} {unit}"
        parts.append(
            Markup(
                '<circle cx="{}" cy="{}" r="3" class="dot {}"><title>{}</title></circle>'
            ).format(x, y, colour, said)
        )
    return Markup("").join(parts)
