# SPDX-License-Identifier: MIT
"""A page from a template: one file that loads nothing, runs nothing and needs no network."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.plaintext import clean, line

_HERE = Path(__file__).parent
STYLE = _HERE / "style.css"
HEAD = "<!DOCTYPE html><!-- vexpress-cma-harness -->"
"""How each page begins, and no other's."""


def render(template: str, **context: object) -> str:
    """The page that ``templates/TEMPLATE`` makes of `context`; text in it is cleaned and escaped.

    The page's policy allows its own style sheet, by its digest, and nothing else.
    """
    style = STYLE.read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made = environment().get_template(template)
    return made.render(style=Markup(style), style_digest=digest, **context)


@functools.cache
def environment() -> jinja2.Environment:
    """Where the templates are; a name that a template misspells is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["oneline"] = line
    return made


def _cleaned(value: Any) -> Any:
    """Text of patches, compilers and guests without what a browser or terminal would obey."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
