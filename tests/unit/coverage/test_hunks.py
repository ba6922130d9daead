# SPDX-License-Identifier: MIT
"""Which lines of the base stand for a change."""

from __future__ import annotations

import difflib

import pytest

from harness.coverage.hunks import Hunk, changed_base_lines, hunks
from harness.coverage.record import CoverageRecord
from harness.imageset.linetable import SourceFunction

CMA = "mm/cma.c"
SOURCE = """\
#define MOST 7
static int used;

static int helper(int x)
{
\treturn x * MOST;
}

/* What it does. */
int alloc(int count,
\t  int align)
{
\tint ret = 0;

\tif (count > MOST)
\t\tgoto out;
\tret = helper(count +
\t\t     align);
\tif (!ret) {
\t\t/* nothing */
\t\tused++;
\t} else {
\t\tused--;
\t}
out:
\treturn ret;
}

int release(void)
{
\treturn used;
}
""".splitlines()
CODE = {6, 12, 13, 15, 16, 17, 19, 21, 23, 26, 27, 31}
RECORD = CoverageRecord(
    {CMA: frozenset(CODE)},
    tuple(SourceFunction(CMA, *words) for words in ((4, "helper"), (10, "alloc"), (29, "release"))),
    {},
    {},
)
ALLOC = {number for number in CODE if 12 <= number <= 27}


def diff(change: dict[int, list[str]], context: int = 0) -> str:
    """Lines by number, from 1, that are put in place of one; in place of ``-N`` before it."""
    new: list[str] = []
    for number, text in enumerate(SOURCE, 1):
        new += change.get(-number, [])
        new += change.get(number, [text])
    rows = difflib.unified_diff(SOURCE, new, f"a/{CMA}", f"b/{CMA}", n=context, lineterm="")
    return "\n".join(rows) + "\n"


def lines(change: dict[int, list[str]], context: int = 0) -> set[int] | None:
    found = changed_base_lines(diff(change, context), RECORD, lambda path: SOURCE)[CMA]
    return None if found is None else set(found[CMA])


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({15: ["\tif (count >= MOST)"]}, {15}),
        ({21: []}, {21}),
        # The second line of a statement stands for the first, and the next is not far.
        ({18: ["\t\t     align + 1);"]}, {17, 19}),
        # What is put in is executed by who executes the line before or the one after.
        ({-21: ["\t\thelper(ret);"]}, {19, 21}),
        ({-17: ["\thelper(ret);"]}, {16, 17}),
        # At the beginning of a block, or behind a label, by who executes what follows.
        ({-20: ["\t\thelper(ret);"]}, {21}),
        ({-23: ["\t\tif (count)"]}, {23}),
        ({-26: ["\tused = 0;"]}, {26}),
        ({-15: ["\tused = 0;"]}, {13, 15}),
        ({-23: ["\t\thelper(ret);", "\t}", "\tif (count) {"]}, {21, 23}),
        ({-20: ["\t\tif (count) {"], -22: ["\t\t}"]}, {19, 21, 23}),
        ({24: ["\t\tused--;", "\t}"]}, {23, 26}),
        ({22: ["\t} else if (count) {"]}, {21, 23}),
        ({15: ["\tif (count > 1)"], 23: ["\t\tused = 0;"]}, {15, 23}),
        # A comment stands for nothing.
        ({20: ["\t\t/* nothing at all */"]}, set()),
        ({9: ["/* Another word. */"]}, set()),
        # Declarations and labels may stand for all of the function.
        ({13: ["\tunsigned int ret = 0;"]}, ALLOC),
        ({-14: ["\tint other;"]}, ALLOC),
        ({25: ["done:"]}, ALLOC),
        ({6: ["\treturn x * 8;"]}, {6}),
    ],
)
def test_lines_within_a_function(
    change: dict[int, list[str]], expected: set[int], context: int
) -> None:
    assert lines(change, context) == expected


@pytest.mark.parametrize(
    "change",
    [
        {1: ["#define MOST 8"]},
        {2: ["static long used;"]},
        {10: ["int alloc(long count,"]},
        {-29: ["int more(void)", "{", "\treturn 1;", "}", ""]},
        {15: ["\tif (count >= MOST)"], 1: ["#define MOST 8"]},
    ],
)
def test_outside_of_functions_lines_do_not_tell(change: dict[int, list[str]]) -> None:
    assert lines(change) is None


def test_a_file_without_a_line_table_is_not_told() -> None:
    text = "--- a/mm/slab.c\n+++ b/mm/slab.c\n@@ -3 +3 @@\n-\tx();\n+\ty();\n"
    assert changed_base_lines(text, RECORD, lambda path: SOURCE) == {"mm/slab.c": None}


def test_new_files_and_those_that_go_have_their_names() -> None:
    text = (
        "--- /dev/null\n+++ b/mm/new.c\n@@ -0,0 +1 @@\n+int x;\n"
        "--- a/mm/old.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-int y;\n--- y;\n"
    )
    assert list(hunks(text)) == [
        Hunk("mm/new.c", 0, (), ("int x;",)),
        Hunk("mm/old.c", 1, ("int y;", "-- y;"), ()),
    ]
