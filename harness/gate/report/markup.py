# SPDX-License-Identifier: MIT
"""HTML and SVG by functions: what is not `Markup` is text and gets escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from harness.gate.report.plain import clean

_VOID = {"meta", "br"}


class Markup(str):
    """Elements, safe as they are. Only `tag` and `join` make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """One element. Attributes: ``class_="wide"``, ``aria_label=…``; None leaves one out."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Elements and text one after the other."""
    return Markup(between.join(p if isinstance(p, Markup) else _escaped(p) for p in parts))


def _escaped(text: str) -> str:
    return html.escape(clean(text))
