# SPDX-License-Identifier: MIT
"""Every test of the tree is collected, and the assertions of their helpers are rewritten."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from harness.host.project import ROOT
from tests.unit.inner import collect

TESTS = ROOT / "tests"


def modules(pattern: str) -> list[Path]:
    return sorted(file.relative_to(ROOT) for file in TESTS.rglob(pattern))


HELPERS = [
    ".".join(file.with_suffix("").parts)
    for file in modules("*.py")
    if not file.name.startswith(("test_", "conftest", "__init__"))
]


@pytest.mark.slow("all tests are collected once more")
def test_every_test_file_is_collected() -> None:
    items, status = collect(str(TESTS))
    assert status == 0
    collected = {item.path.relative_to(ROOT) for item in items}
    assert [file for file in modules("test_*.py") if file not in collected] == []


def test_the_names_of_tests_do_not_change_from_run_to_run(request: pytest.FixtureRequest) -> None:
    """xdist's workers must agree on them, and so must the results of two nights: no time stamp of a
    compressed file, no address of an object. These are the tests of this run.
    """
    suspicious = re.compile(r"\\x1f\\x8b\\x08(?!\\x00\\x00\\x00\\x00\\x00)|0x7f[0-9a-f]{10}")
    names = [item.nodeid for item in request.session.items]
    assert [name for name in names if suspicious.search(name)] == []


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
