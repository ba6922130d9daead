# SPDX-License-Identifier: MIT
"""SVG by functions: what is not `markupsafe.Markup` is text and gets escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup


def element(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element. Attributes: ``class_="wide"``, ``aria_label=…``; None leaves one out."""
    words = [Markup(name)]
    for key, value in attributes.items():
        if value is not None:
            word = Markup(key.rstrip("_").replace("_", "-"))
            words.append(word + Markup('="{}"').format(str(value)))
    return Markup("<{}>{}</{}>").format(Markup(" ").join(words), join(children), Markup(name))


def join(parts: Iterable[str]) -> Markup:
    """Elements and text one after the other."""
    return Markup("").join(parts)
