# SPDX-License-Identifier: MIT
"""``--qemu-select FILE``: runs the tests that a file names, a line each, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest


def read_selection(path: Path) -> set[str]:
    """The names in a file; ``#`` begins a comment where it begins a line."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def name_of(item: pytest.Item) -> str:
    """A test as pytest names it, without the kernel among its parameters: one line is for all."""
    spec = getattr(item, "callspec", None)
    version = spec.params.get("kernel_version") if spec is not None else None
    if version is None:
        return item.nodeid
    return item.nodeid.replace(f"[{version}-", "[").replace(f"[{version}]", "")


def select(config: pytest.Config, items: list[pytest.Item], path: Path) -> None:
    """Keeps what the file names. Raises `pytest.UsageError` for an empty file."""
    names = read_selection(path)
    if not names:
        raise pytest.UsageError(f"--qemu-select {path}: it names no test")
    groups: Sequence[list[pytest.Item]] = ([], [])
    for item in items:
        groups[name_of(item) in names].append(item)
    config.hook.pytest_deselected(items=groups[False])
    items[:] = groups[True]
