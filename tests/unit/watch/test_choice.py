# SPDX-License-Identifier: MIT
from __future__ import annotations

import ast

from harness.coverage.functions import FunctionMap
from harness.coverage.record import CoverageRecord
from harness.gate.selection import Evidence
from harness.host.project import ROOT
from harness.imageset.linetable import SourceFunction
from harness.watch.tests import CHEAP, FEW, FIRST, executing

FILE = "mm/cma.c"
DIFF = f"""\
--- a/{FILE}
+++ b/{FILE}
@@ -3 +3 @@
-\told();
+\tnew();
"""
ALLOC = SourceFunction(FILE, 1, "cma_alloc")
SOURCE = ["int cma_alloc(void)", "{", "\told();", "}"]


def names_in(path: str) -> set[str]:
    """The tests of a file, as pytest names them, without parameters."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        parts = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{path}::{node.name}::" if isinstance(node, ast.ClassDef) else f"{path}::"
        found |= {prefix + part.name for part in parts if isinstance(part, ast.FunctionDef)}
    return found


def test_the_tests_that_are_run_where_nothing_is_known_are_there() -> None:
    assert len(FIRST) == FEW
    for test in FIRST:
        assert test in names_in(test.partition("::")[0]), test


def test_of_the_tests_that_execute_a_change_the_cheap_ones_are_taken() -> None:
    seconds = {f"t{n:02d}": CHEAP + 1 if n < 5 else 0.2 for n in range(20)} | {"other": 0.1}
    executed = {test: {FILE: frozenset({3})} for test in seconds if test != "other"}
    lines = CoverageRecord({FILE: frozenset({3})}, (ALLOC,), {}, executed)
    functions = FunctionMap(frozenset(), dict.fromkeys(seconds, frozenset({"cma_alloc"})))
    evidence = Evidence(lines, functions, seconds=seconds)
    found = executing(evidence, DIFF, lambda path: SOURCE)
    assert found == tuple(f"t{n:02d}" for n in range(5, 5 + FEW - 2))
    few = {test: seconds[test] for test in ("t00", "t01", "t05", "other")}
    lines = CoverageRecord(
        {FILE: frozenset({3})}, (ALLOC,), {}, {t: executed[t] for t in list(few)[:3]}
    )
    functions = FunctionMap(frozenset(), dict.fromkeys([*few, FIRST[0]], frozenset({"cma_alloc"})))
    evidence = Evidence(lines, functions, seconds=few)
    found = executing(evidence, DIFF, lambda path: SOURCE)
    assert found == ("t05", "t00", "t01", FIRST[0]), "dear ones rather than none"
