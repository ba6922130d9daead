# SPDX-License-Identifier: MIT
"""``--qemu-select``: which tests a file names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.gate.options import QUICK, QUICK_DRIVER
from harness.host.programs import ROOT
from harness.pytest_plugin.selection import read_selection


def collected(*words: str) -> tuple[list[str], str]:
    """The tests that pytest would run, without the kernel in their names; and all that it said."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "--qemu",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    argv += [
        "--qemu-kernel-version",
        "6.1",
        *words,
        "tests/cma",
        "tests/cma/test_main_job.py",
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "::" in line]
    names = [line.replace("[6.1-", "[").replace("[6.1]", "") for line in lines]
    return names, done.stdout + done.stderr


def test_comments_and_empty_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("# no\n\n tests/a.py::test_x[b # c] \n")
    assert read_selection(tmp_path / "x") == {"tests/a.py::test_x[b # c]"}


@pytest.mark.parametrize("file", [QUICK, QUICK_DRIVER])
def test_every_test_that_the_gate_runs_exists_and_is_run(file: Path) -> None:
    names, said = collected("--qemu-select", str(file))
    assert set(names) == read_selection(file), said[-500:]
    assert "deselected" in said


@pytest.mark.parametrize(
    ("content", "said"), [("# nothing\n", "it names no test"), (None, "there is no file")]
)
def test_a_selection_that_is_none_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "select.txt"
    if content is not None:
        file.write_text(content)
    assert said in collected("--qemu-select", str(file))[1]
