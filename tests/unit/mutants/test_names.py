# SPDX-License-Identifier: MIT
"""Each mutant names tests that there are: a test that was renamed is noticed without QEMU."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from harness.host.project import ROOT
from harness.mutants.patchfile import MUTANTS, read_mutant
from tests.cma.layout.table import LAYOUTS

_OPERATORS = {"and", "or", "not"}


@functools.cache
def names() -> set[str]:
    """What ``-k`` can match: modules, classes, functions, and the layouts' names as parameters."""
    found = {layout.name for layout in LAYOUTS}
    for path in (ROOT / "tests" / "cma").rglob("test_*.py"):
        found.add(path.name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
    return found


# By their files: to read one takes git, and every worker collects all the tests.
@pytest.mark.parametrize("path", sorted(MUTANTS.glob("*.patch")), ids=lambda path: str(path.stem))
def test_every_test_that_a_mutant_names_is_there(path: Path) -> None:
    there, mutant = names(), read_mutant(path)
    words = set(re.findall(r"[^\s()]+", mutant.caught_by)) - _OPERATORS
    assert bool(words) is not mutant.harmless
    missing = [word for word in words if not any(word in name for name in there)]
    assert missing == [], f"{path}: Caught-by"
