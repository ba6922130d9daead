# SPDX-License-Identifier: MIT
"""The page of a record: every file and function, and what nothing executed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.cli import app
from harness.coverage.record import RECORD as NAME
from harness.coverage.record import CoverageRecord
from harness.imageset.linetable import SourceFunction
from harness.report import coverage_page

EVIL = "<b>a.c"
RECORD = CoverageRecord(
    {"mm/cma.c": frozenset(range(10, 40)), EVIL: frozenset({1, 2})},
    (
        SourceFunction(EVIL, 1, "evil"),
        SourceFunction("mm/cma.c", 10, "cma_alloc"),
        SourceFunction("mm/cma.c", 30, "cma_activate_area"),
    ),
    {"mm/cma.c": frozenset(range(30, 36))},
    {"tests/cma/test_a.py::test_b": {"mm/cma.c": frozenset(range(10, 25))}},
    "6.1.1",
)


def test_what_nothing_executes_is_named_by_function() -> None:
    page = coverage_page.render(RECORD)
    rows = [re.sub(r"<svg.*?</svg>|<[^>]+>", " ", row) for row in re.findall(r"<tr>.*?</tr>", page)]
    words = [" ".join(row.split()) for row in rows]
    assert "cma_alloc 20 15 25-29" in words
    assert "cma_activate_area 10 0 30-35 36-39" in words
    assert "15 of 30 lines by tests, 21 with the boot" in page
    assert EVIL not in page


def test_the_bars_are_to_scale() -> None:
    page = coverage_page.render(RECORD, "mm/cma.c")
    (drawn,) = re.findall(r"<svg[^>]*><title>15 of 20 lines.*?</svg>", page)
    assert re.findall(r'class="(by-\w+)"[^>]*width="([\d.]+)"', drawn) == [
        ("by-tests", "90.0"),
        ("by-none", "30.0"),
    ]


def test_the_command_writes_it(tmp_path: Path) -> None:
    RECORD.write(tmp_path / NAME)
    page = tmp_path / "cma.html"
    assert app.main(["coverage", str(tmp_path / NAME), "--html", str(page)]) == 0
    assert "cma_activate_area" in page.read_text()
    assert app.main(["coverage", str(tmp_path / NAME), "--html", str(page)]) == 0
    page.write_text("<!DOCTYPE html>\n<p>somebody's\n")
    assert app.main(["coverage", str(tmp_path / NAME), "--html", str(page)]) == 2
    assert "somebody's" in page.read_text()


@pytest.mark.parametrize("form", ["lcov", "cobertura"])
def test_one_file_is_written_alone(tmp_path: Path, form: str) -> None:
    code = {**RECORD.code, "mm/other.c": frozenset({1})}
    done = {"mm/cma.c": RECORD.code["mm/cma.c"], "mm/other.c": frozenset({1})}
    record = dataclasses.replace(RECORD, code=code, tests={"t": done})
    record.write(tmp_path / NAME)
    for more, there in (([], True), (["--file", "mm/cma.c"], False)):
        made = tmp_path / f"{form}-{there}"
        assert app.main(["coverage", str(tmp_path / NAME), f"--{form}", str(made), *more]) == 0
        assert "mm/cma.c" in made.read_text()
        assert ("mm/other.c" in made.read_text()) is there
