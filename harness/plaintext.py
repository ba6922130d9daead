# SPDX-License-Identifier: MIT
"""Text of patches, builds and guests, made fit to be shown: it may hold any byte.

Whatever is shown to a person goes through `clean`: on a terminal it can neither move the cursor,
nor hide or turn what it says, nor pretend to be a line of ours. The escape sequences are those of
ECMA-48 and of ISO 2022 (xterm's ``ctlseqs`` lists them).
"""

from __future__ import annotations

import io
import os
import re
from typing import BinaryIO, TextIO

# No other sequence begins within one: so that what has no end takes no time.
_STRING = r"[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences: colours, the cursor
    rf"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]){_STRING}"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]+[0-~]"  # character sets, tests of the screen
    r"|\x1b[0-OQ-WYZ\\`-~]"  # two bytes: reset, save the cursor, index
)
_ENDS = re.compile(r"\r+(?=\n|\Z)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Controls, what turns the direction of writing, what has no width, line ends of Unicode, and what
# XML 1.0 has not.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
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


def shortened(text: str, most: int) -> str:
    """At most `most` lines, from the beginning and the end of a text that has more."""
    every = text.split("\n")
    if len(every) <= most:
        return text
    head = most * 3 // 4
    tail = most - head
    gap = f"{ELLIPSIS} {counted(len(every) - most, 'line')} left out"
    return "\n".join([*every[:head], gap, *every[-tail:]])


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
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_WORKFLOW_COMMAND = re.compile(r"^([ \t]*)(:)(:[a-z])|^([ \t]*#)(#)(\[[a-z])", re.MULTILINE)


def _no_command(match: re.Match[str]) -> str:
    head, rest = (match[1] + match[2], match[3]) if match[3] else (match[4] + match[5], match[6])
    return f"{head} {rest}"


class CleanStream(io.TextIOBase):
    """A text stream that cleans what is written to it, for output that quotes others.

    Where GitHub runs it, no line is a workflow command, ``::error::`` or ``##[error]``: a guest
    could print those too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._github = os.environ.get("GITHUB_ACTIONS") == "true"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the stream's."""
        return self._stream.encoding

    @property
    def buffer(self) -> BinaryIO:
        """The stream's bytes, which are nobody's text: what is written there is not cleaned."""
        return self._stream.buffer

    def write(self, text: str, /) -> int:
        """Writes the cleaned text."""
        shown = clean(text)
        if self._github:
            shown = _WORKFLOW_COMMAND.sub(_no_command, shown)
        self._stream.write(shown)
        return len(text)

    def flush(self) -> None:
        """As the stream's."""
        self._stream.flush()

    def close(self) -> None:
        """Leaves the stream, which is somebody else's and may be closed by now, as it is."""

    def fileno(self) -> int:
        """As the stream's."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """As the stream's."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """It is."""
        return True
