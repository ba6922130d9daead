# SPDX-License-Identifier: MIT
"""Every test of the tree is collected, and the assertions of their helpers are rewritten."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from harness.host.project import ROOT

TESTS = ROOT / "tests"


def modules(pattern: str) -> list[Path]:
    return sorted(file.relative_to(ROOT) for file in TESTS.rglob(pattern))


HELPERS = [
    ".".join(file.with_suffix("").parts)
    for file in modules("*.py")
    if not file.name.startswith(("test_", "conftest", "__init__"))
]


def test_every_test_file_is_collected() -> None:
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-qq"]
    argv += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [*argv, "-o", "addopts=", "tests"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = (line.rpartition(": ") for line in done.stdout.splitlines())
    collected = {Path(file) for file, _, count in lines if count.isdigit() and int(count)}
    assert done.returncode == 0, done.stdout[-2000:]
    assert [file for file in modules("test_*.py") if file not in collected] == []


def test_a_file_of_tests_is_called_as_pytest_looks_for_them() -> None:
    lost = [
        file
        for file in modules("*.py")
        if not file.name.startswith("test_") and "\ndef test_" in (ROOT / file).read_text()
    ]
    assert lost == []


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_s_assertions_are_rewritten(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__spec__ is not None
    assert isinstance(module.__spec__.loader, AssertionRewritingHook)
