# SPDX-License-Identifier: MIT
"""Each mutant names tests that there are: a test that was renamed is noticed without QEMU."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from harness.host.project import ROOT
from harness.mutants.patchfile import Mutant, read_all
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


@pytest.mark.parametrize(
    "mutant", [m for m in read_all() if not m.harmless], ids=lambda mutant: str(mutant.name)
)
def test_every_test_that_a_mutant_names_is_there(mutant: Mutant) -> None:
    there = names()
    words = set(re.findall(r"[^\s()]+", mutant.caught_by)) - _OPERATORS
    missing = [word for word in words if not any(word in name for name in there)]
    assert missing == [], f"{mutant.path}: Caught-by"
