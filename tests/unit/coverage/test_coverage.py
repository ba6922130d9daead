# SPDX-License-Identifier: MIT
"""Lines, records, formats and the lines of a patch."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.coverage import summary
from harness.coverage.changed import LineFate, added_lines, counts, judged, removed_lines
from harness.coverage.formats import cobertura, lcov
from harness.coverage.lines import packed, union, unpacked
from harness.coverage.record import CoverageRecord, merged, read
from harness.errors import UserError
from harness.imageset.linetable import SourceFunction
from harness.machine.executed import parse_trace, trace_filter

CMA = "mm/cma.c"


def record(**tests: set[int]) -> CoverageRecord:
    return CoverageRecord(
        {CMA: frozenset({10, 11, 12, 20, 21})},
        (SourceFunction(CMA, 9, "cma_alloc"), SourceFunction(CMA, 19, "cma_release")),
        {CMA: frozenset({10, 20})},
        {name: {CMA: frozenset(lines)} for name, lines in tests.items()},
        "6.1.0",
    )


@given(
    st.dictionaries(st.sampled_from(["a.c", "b.c"]), st.frozensets(st.integers(1, 60), min_size=1))
)
def test_lines_survive_their_short_form(lines: dict[str, frozenset[int]]) -> None:
    assert unpacked(packed(lines)) == lines


def test_short_forms() -> None:
    assert packed({"a.c": frozenset({1, 2, 3, 7, 9, 10})}) == {"a.c": "1-3,7,9-10"}


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = record(one={10, 11}, two={21})
    made.write(tmp_path / "coverage.json")
    assert read(tmp_path / "coverage.json") == made


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', "[1]"])
def test_what_is_no_record_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "x").write_text(content)
    with pytest.raises(UserError, match="no record of coverage"):
        read(tmp_path / "x")
    with pytest.raises(UserError, match="--qemu-coverage"):
        read(tmp_path / "y")


def test_the_most_specific_test_comes_first() -> None:
    made = record(all={10, 11, 20, 21}, one={11}, two={10, 11})
    assert made.tests_of(CMA, 11) == ["one", "two", "all"]
    assert made.tests_of(CMA, 12) == []
    assert made.never() == {CMA: {12}}


def test_runs_are_merged() -> None:
    both = merged([record(a={10}), record(a={11}, b={21})])
    assert both.tests == {"a": {CMA: {10, 11}}, "b": {CMA: {21}}}
    assert union() == {}


def test_lcov_has_a_section_for_each_test() -> None:
    text = lcov(record(**{"x::y[1]": {10, 11}}))
    sections = text.split("end_of_record\n")
    assert sections[0].startswith("TN:boot\nSF:mm/cma.c\n")
    assert sections[1].startswith("TN:x__y_1_\nSF:mm/cma.c\n")
    assert "DA:11,1" in sections[1]
    assert "DA:12,0" in sections[1]
    assert "FNDA:1,cma_alloc" in sections[1]
    assert "FNDA:0,cma_release" in sections[1]
    assert "LF:5\nLH:2\n" in sections[1]


def test_cobertura_counts_the_tests_of_a_line() -> None:
    root = ElementTree.fromstring(cobertura(record(a={10}, b={10})))
    hits = {row.get("number"): row.get("hits") for row in root.iter("line")}
    assert hits == {"10": "3", "11": "0", "12": "0", "20": "1", "21": "0"}
    assert root.get("lines-valid") == "5"
    assert root.get("line-rate") == "0.4000"


def test_the_summary_names_what_nothing_executes() -> None:
    (item,) = summary.of(record(a={10, 11}))
    assert (item.code, item.tested, item.executed) == (5, 2, 3)
    assert summary.text([item]) == (
        "mm/cma.c: 2 of 5 lines by tests, 3 with the boot (60.0 %)\n"
        "  cma_alloc: never 12\n"
        "  cma_release: never 21; at boot only 20\n"
    )


DIFF = """\
diff --git a/mm/cma.c b/mm/cma.c
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -9,4 +9,5 @@ static int x(void)
 {
-\told();
+\tnew();
+\tmore();
 \tkept();
 }
@@ -20 +21 @@
-gone
+--- not a header
\\ No newline at end of file
--- a/mm/dead.c
+++ /dev/null
@@ -1,2 +0,0 @@
-a
-b
"""


def test_the_lines_that_a_diff_adds() -> None:
    assert [(line.file, line.line, line.text) for line in added_lines(DIFF)] == [
        (CMA, 10, "\tnew();"),
        (CMA, 11, "\tmore();"),
        (CMA, 21, "--- not a header"),
    ]


def test_each_changed_line_has_a_fate() -> None:
    made = record(one={10})
    found = judged(added_lines(DIFF), made)
    assert [(line.fate, line.tests) for line in found] == [
        (LineFate.TESTS, ("one",)),
        (LineFate.NONE, ()),
        (LineFate.NONE, ()),
    ]
    assert [str(line) for line in found[:2]] == ["executed by 1 test", "executed by none"]
    assert counts(found)[LineFate.NONE] == 2
    (boot,) = judged([line for line in found if line.line == 10], record())
    assert boot.fate is LineFate.BOOT
    elsewhere = judged(added_lines(DIFF.replace("mm/cma.c", "mm/slab.c")), made)
    assert {line.fate for line in elsewhere} == {LineFate.NOT_CODE}


LOG = b"""\
----------------
IN: cma_alloc
0x801b0a10:  e92d4ff0  push     {r4, r5}
0x801b0a14:  e24dd01c  sub      sp, sp, #0x1c

qemu: something else
----------------
IN:
0x7f000024:  e12fff1e  bx       lr
"""


def test_a_trace_is_read_whatever_is_between() -> None:
    assert parse_trace(LOG) == {0x801B0A10, 0x801B0A14, 0x7F000024}
    assert parse_trace(b"") == frozenset()
    assert trace_filter([(0x1000, 0x1010), (0x2000, 0x2004)]) == "0x1000+0x10,0x2000+0x4"


TAKEN_OUT = """\
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -10,2 +10 @@
-gone();
-gone_too();
+	/* nothing */
@@ -20 +19 @@
-before();
+after();
@@ -30,3 +29,2 @@
 context();
-last();
 context();
--- a/mm/old.c
+++ /dev/null
@@ -1 +0,0 @@
-all();
"""


def test_lines_are_removed_where_no_code_takes_their_place() -> None:
    found = removed_lines(TAKEN_OUT)
    assert [(line.file, line.line, line.text) for line in found] == [
        ("mm/cma.c", 10, "gone();"),
        ("mm/cma.c", 11, "gone_too();"),
        ("mm/cma.c", 31, "last();"),
        ("mm/old.c", 1, "all();"),
    ]
    assert all(line.removed for line in found)
