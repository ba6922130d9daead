# SPDX-License-Identifier: MIT
"""Text of patches, compilers and guests, made fit to be shown: it may hold any byte."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_ENDS = re.compile(r"\r+(?=\n|\Z)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Controls, what turns the direction of writing, line ends of Unicode, and what XML 1.0 has not.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufeff\ufffe\uffff]"
)
ELLIPSIS = "…"


def clean(text: str) -> str:
    """`text` without terminal sequences; other control characters as ``\\x1b`` or ``\\u202e``.

    Newlines and tabs stay. The result is valid in XML 1.0 and can be encoded.
    """
    return _HIDDEN.sub(_shown, _ENDS.sub("", _SEQUENCE.sub("", text)))


def encodable(text: str) -> str:
    """`text` with lone surrogates (bytes that were no UTF-8) shown, and nothing else changed."""
    return _SURROGATES.sub(_shown, text)


def line(text: str, width: int = 0) -> str:
    """`text` on one line, cut to `width` characters (0: whole)."""
    return cut(" ".join(clean(text).split()), width)


def lines(text: str) -> list[str]:
    """The lines of a cleaned text, without empty ones at either end."""
    return [part.rstrip() for part in clean(text).strip("\n").rstrip().split("\n")] if text else []


def cut(text: str, width: int) -> str:
    """At most `width` characters (0: all), the last an ellipsis where some are missing."""
    return text if not width or len(text) <= width else text[: width - 1] + ELLIPSIS


def first(text: str, count: int) -> list[str]:
    """The first `count` lines, and a line that says how many more there are."""
    every = lines(text)
    left = len(every) - count
    return every if left <= 0 else [*every[:count], f"{ELLIPSIS} {counted(left, 'more line')}"]


def last(text: str, count: int) -> list[str]:
    """The last `count` lines, below a line that says how many came before."""
    every = lines(text)
    left = len(every) - count
    return every if left <= 0 else [f"{ELLIPSIS} {counted(left, 'line')} before", *every[left:]]


def counted(number: int, what: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        # what Python's surrogateescape makes of a byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
