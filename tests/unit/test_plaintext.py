# SPDX-License-Identifier: MIT
from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.plaintext import CleanStream, clean, first, last, line, lines, shortened


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
        ("\x1bc\x1b7\x1b=\x1b(B\x1b#8\x1b Greset", "reset"),
        ("a\x1bP1$r0m\x1b\\b\x1b_x\x1b\\c\x1b^y\x07d\x1bXz\x1b\\e", "abcde"),
        ("\x9b31mred\x9d0;title\x9cx\x90q\x9cy\x98\x9e", "redxy\\x98\\x9e"),
        ("\x1b\x1b[0m[31mred", "\\x1b[31mred"),
        ("\x1b[", "\\x1b["),
        ("\u061c\u200e\u200f\u202a\u2066\u2069", "\\u061c\\u200e\\u200f\\u202a\\u2066\\u2069"),
        ("a\x85b\u2028c", "a\\x85b\\u2028c"),
        ("zero\u200bwidth\U000e0041", "zero\\u200bwidth\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(dirty: str, shown: str) -> None:
    assert clean(dirty) == shown


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_becomes_valid_xml(text: str) -> None:
    ET.fromstring(f"<a>{escape(clean(text))}</a>")


@given(st.text(st.sampled_from("\x1b\x9b\x9d\x90[]PX^_;\\\x07\x9c01mcA \r\n\u202e"), max_size=40))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not re.search(r"[^\n\t\x20-\x7e]", clean(text))


def test_a_stream_cleans_what_is_written_to_it() -> None:
    stream = io.StringIO()
    print("title\rPASS", "\x1b[1A", file=CleanStream(stream))
    assert stream.getvalue() == "title\\x0dPASS \n"


def test_an_error_is_fit_to_be_shown_wherever_it_is() -> None:
    assert str(HarnessError("said \x1b[2J\u202e")) == "said \\u202e"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    text = "\n".join(map(str, range(100)))
    assert shortened(text, 8).split("\n") == [*"012345", "… 92 lines left out", "98", "99"]
    assert shortened(text, 100) == text


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


@pytest.mark.parametrize("opener", ["\x9d", "\x90", "\x98", "\x1b]", "\x9f", "\x1b[0", "\x9b;"])
def test_sequences_without_an_end_take_no_time(opener: str) -> None:
    """Each of them once looked for its end up to the end of the text."""
    text = clean(opener * 200_000)
    assert text.isprintable()
    assert clean(f"a{opener}b\x9d0;title\x07c").endswith("c")


@pytest.mark.parametrize("github", ["true", ""])
def test_no_line_that_is_quoted_commands_github(
    github: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", github)
    out = io.StringIO()
    stream = CleanStream(out)
    text = "a\n    ::error file=x::forged\n##[group]x\nstd::string ok\n::1 is an address\n"
    print(text, end="", file=stream)
    print("::stop-commands::word", file=stream)
    lines = out.getvalue().splitlines()
    assert lines[3:5] == ["std::string ok", "::1 is an address"]
    commands = [line for line in lines if re.match(r"\s*(::[a-z]|##\[)", line)]
    assert commands == ([] if github else [lines[1], lines[2], lines[5]])


def test_the_end_of_a_clean_stream_is_not_that_of_the_other() -> None:
    stream = io.StringIO()
    cleaned = CleanStream(stream)
    cleaned.close()
    print("still there", file=cleaned)
    assert stream.getvalue() == "still there\n"
    stream.close()
    cleaned.close()
