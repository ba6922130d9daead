# SPDX-License-Identifier: MIT
"""What the board is stands in one module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import harness
from harness import board

PACKAGE = Path(harness.__file__).parent
BY_HAND = PACKAGE / "bench"
"""What it compares with is written as others write it."""


def constants(path: Path) -> set[object]:
    """Every constant of a module's code, and of strings their words; docstrings do not count."""
    tree = ast.parse(path.read_text())
    loose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found: set[object] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in loose:
            found |= set(node.value.split()) if isinstance(node.value, str) else {node.value}
    return found


@pytest.mark.slow("all code is read")
def test_every_fact_of_the_board_stands_once() -> None:
    facts = {board.RAM_START, board.QEMU, board.LOG, board.COMMANDS, board.EARLY_CONSOLE}
    facts |= {f"console={board.LOG}", f"{board.MACHINE},{board.MACHINE_OPTIONS}"}
    repeated = {
        (str(path.relative_to(PACKAGE)), fact)
        for path in PACKAGE.rglob("*.py")
        if path.name != "board.py" and BY_HAND not in path.parents
        for fact in constants(path) & facts
    }
    assert repeated == set()


def test_the_default_fits() -> None:
    assert board.DEFAULT_MEMORY in board.RAM_MIB
