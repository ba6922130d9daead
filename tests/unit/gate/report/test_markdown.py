# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gate.report import markdown
from harness.gate.report.markdown import code, fenced, inline
from harness.gate.result import Finding, FindingKind, ResultChange
from tests.unit.gate.report import samples


def outside(text: str) -> str:
    """What is in no fenced block and no code span."""
    kept = []
    fence = ""
    for row in text.split("\n"):
        marks = re.match(r"`{3,}", row)
        if fence:
            # Only a line of at least as many backticks and nothing else ends a block.
            if marks and len(marks[0]) >= len(fence) and row.strip("`") == "":
                fence = ""
        elif marks:
            fence = marks[0]
        else:
            kept.append(re.sub(r"(?<![`\\])(`+)(?!`).+?(?<!`)\1(?!`)", "", row))
    assert fence == "", "a block is open at the end"
    return "\n".join(kept)


@pytest.mark.parametrize("make", samples.ALL)
def test_blocks_and_details_are_closed(make: samples.Make) -> None:
    bare = outside(markdown.render(make()))
    assert bare.count("<details>") == bare.count("</details>") == bare.count("<summary>")
    tags = set(re.findall(r"</?\w+", bare))
    assert tags <= {"<details", "</details", "<summary", "</summary"}


def test_nothing_untrusted_gets_out() -> None:
    text = markdown.render(samples.hostile())
    bare = outside(text)
    assert not re.search(r"@\w", bare)
    assert "<script" not in bare
    assert "</pre" not in bare
    assert not re.search(r"(?m)^/", text), "GitLab runs such a line"
    assert "\x1b" not in text
    assert "@everyone" in text, "the evidence itself is kept, in code"


def test_a_table_keeps_its_columns() -> None:
    rows = [row for row in markdown.render(samples.hostile()).split("\n") if row.startswith("| ")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("@dev #1 !2", "@\u200bdev \\#\u200b1 \\!\u200b2"),
        ("https://x www.y.z", "https:\u200b//x www\u200b.y.z"),
        ("[a](b) *c* _d_ `e`", r"\[a\](b) \*c\* \_d\_ \`e\`"),
        ("- a", r"\- a"),
        ("two\nlines", "two lines"),
    ],
)
def test_words_are_only_words(text: str, shown: str) -> None:
    assert inline(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a``b`", "``` a``b` ```"), ("", "` `")],
)
def test_a_code_span_is_longer_than_what_is_in_it(text: str, shown: str) -> None:
    assert code(text) == shown


@given(st.lists(st.text(alphabet="`a /\\<\n")))
def test_a_block_ends_where_it_should(texts: list[str]) -> None:
    block = fenced(row for text in texts for row in text.split("\n"))
    assert outside(f"{block}\nafter") == "after"


def test_the_summary_of_a_rejection() -> None:
    text = markdown.render(samples.rejected())
    assert text.startswith("## Patch gate: REJECTED\n\n**Why**: 1 test newly fails, and 2 more")
    assert f"**test newly fails** (product): `{samples.WRONG_AREA}`" in text
    assert (
        "- `BiscuitOS_cma` moved 8 MiB up: `0x69800000-0x69ffffff` → `0x6a000000-0x6a7fffff`"
        in text
    )
    assert "| latency: one page | 12.0 us | 15.6 us | +30.0 %, **regression** |" in text
    assert "<summary>Boot transcript, the difference</summary>\n\n```diff\n--- base\n" in text
    assert "**Newly passes**\n\n- `tests/cma/test_big.py::test_64`" in text
    assert "kernel size" not in text
    assert "linux,cma` unchanged" not in text


def test_an_acceptance_has_nothing_to_unfold() -> None:
    text = markdown.render(samples.accepted())
    assert "<details>" not in text
    assert len(text.splitlines()) < 20


def test_it_fits_in_a_comment() -> None:
    findings = tuple(
        Finding(
            FindingKind.BUILD, f"error {n}", ("x" * 900 + "\n") * 90, excerpt="y ``````\n" * 9000
        )
        for n in range(50)
    )
    tests = tuple(samples.changed("t" * 500, ResultChange.NEW) for _ in range(900))
    result = dataclasses.replace(samples.rejected(), findings=findings, tests=tests)
    text = markdown.render(result)
    assert len(text) < 65_536
    assert text.endswith("_Shortened: the other reports have the rest._\n")
    outside(text)
