# SPDX-License-Identifier: MIT
"""The bench's results as an SVG of bars, one group a row, longest bar = slowest."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

COLOURS = {"here": "#1b7f4b", "labgrid": "#b8562a", "pexpect": "#6c7a89"}
WIDTH, LEFT, BAR, GAP = 760, 90, 18, 34


def shown(row: str, value: float) -> str:
    """A figure with its unit."""
    if row == "memory":
        return f"{value / 2**20:.0f} MiB"
    if row == "record":
        return f"{value / 1000:.1f} kB"
    if row == "coverage":
        return f"{value:+.1%}"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def plot(results: Mapping[str, Mapping[str, float | None]], titles: Mapping[str, str]) -> str:
    """SVG text; each row has its own scale, and its figures beside the bars."""
    parts = []
    y = 30
    for row, values in results.items():
        ratio = values["ratio"]
        times = f" — {ratio:.1f} times" if ratio else ""
        parts.append(f'<text x="10" y="{y}" class="t">{escape(titles[row] + times)}</text>')
        y += 8
        most = max(value for peer, value in values.items() if peer in COLOURS and value) or 1
        for peer, colour in COLOURS.items():
            value = values[peer]
            if value is None:
                continue
            length = max(1.5, (WIDTH - LEFT - 110) * value / most)
            figure = shown(row, value)
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 13}" class="p">{peer}</text>'
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 4}" rx="2"'
                f' fill="{colour}"/>'
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}" class="v">{figure}</text>'
            )
            y += BAR
        y += GAP
    style = (
        "text{font-family:sans-serif;font-size:12px;fill:#222}.t{font-weight:bold;font-size:13px}"
        ".p{text-anchor:end}.v{fill:#444}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}"'
        f' viewBox="0 0 {WIDTH} {y}"><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
