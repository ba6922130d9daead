# SPDX-License-Identifier: MIT
"""The rows of a unified diff."""

from __future__ import annotations

from harness.coverage.changed import diff_rows


def test_lines_of_no_text_and_lines_with_other_separators_are_one_row_each() -> None:
    """An empty line of context without its blank; a form feed; what is no text at all."""
    diff = (
        "--- a/mm/cma.c\n+++ b/mm/cma.c\n@@ -1,3 +1,4 @@\n one\n\n-two\x0cand\x85more\n"
        "+three\x1c\n+\x0b\n"
    )
    rows = [(row.kind, row.line, row.text) for row in diff_rows(diff)]
    assert rows == [
        (" ", 1, "one"),
        (" ", 2, ""),
        ("-", 3, "two\x0cand\x85more"),
        ("+", 3, "three\x1c"),
        ("+", 4, "\x0b"),
    ]
