# SPDX-License-Identifier: MIT
from __future__ import annotations

import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.host.plaintext import clean, first, last, line, lines


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]0;open", "\\x1b]0;open"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("one\r\r\ntwo\r", "one\ntwo"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("if\u202e(", "if\\u202e("),
        ("tab\there", "tab\there"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(dirty: str, shown: str) -> None:
    assert clean(dirty) == shown


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_becomes_valid_xml(text: str) -> None:
    ET.fromstring(f"<a>{escape(clean(text))}</a>")


def test_a_line_is_one_line() -> None:
    assert line(" a\n b\t\x1b[1mc ") == "a b c"
    assert line("abcdef", 4) == "abc…"


def test_the_first_and_the_last_lines_say_what_is_missing() -> None:
    text = "1\n2\n3\n"
    assert lines(text) == ["1", "2", "3"]
    assert first(text, 3) == last(text, 3) == ["1", "2", "3"]
    assert first(text, 2) == ["1", "2", "… 1 more line"]
    assert last(text, 1) == ["… 2 lines before", "3"]
    assert lines("") == []
