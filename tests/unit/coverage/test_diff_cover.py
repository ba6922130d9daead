# SPDX-License-Identifier: MIT
"""diff-cover on the Cobertura file, as a user runs it in the kernel's git tree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.coverage.formats import cobertura
from harness.coverage.record import CoverageRecord

pytest.importorskip("diff_cover")
CMA = "mm/cma.c"


def git(place: Path, *words: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True)


@pytest.mark.slow("two processes of diff-cover, which is slow to start")
def test_it_tells_which_lines_of_a_change_no_test_executed(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    source = tmp_path / CMA
    source.write_text("one();\ntwo();\n/* three */\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "base")
    git(tmp_path, "checkout", "-q", "-b", "patch")
    source.write_text("one();\ntwo();\n/* three */\nfour();\nfive();\n")
    git(tmp_path, "commit", "-q", "-a", "-m", "patch")
    record = CoverageRecord({CMA: frozenset({1, 2, 4, 5})}, (), {}, {"a": {CMA: frozenset({1, 4})}})
    (tmp_path / "coverage.xml").write_text(cobertura(record))
    words = ["coverage.xml", "--compare-branch", "main", "--format", "json:out.json"]
    program = Path(sys.executable).with_name("diff-cover")
    done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["src_stats"][CMA]
    assert found["violation_lines"] == [5]
    assert found["percent_covered"] == 50.0
