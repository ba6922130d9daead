# SPDX-License-Identifier: MIT
"""The real b4 reads what ``harness check`` writes: each patch of a series, on b4's own terms."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.host.project import PYTHON_PATH
from tests.unit.builders.kernel_repository import git, make

PACKAGES = ("b4==0.16.0", "--no-binary=dkimpy")
CHECK = """\
#!{python}
import os, re, sys
sys.path.insert(0, {path!r})
from harness.gate.places import Place, Severity
title = re.search(r"(?m)^Subject: .*mm: (\\w+)", sys.stdin.read())[1]
found = {{"broken": Severity.ERROR, "untested": Severity.CHECK}}
if title in found:
    print(Place("mm/cma.c", 3, found[title], "test newly fails", title))
sys.exit(title == "broken")
"""


@pytest.fixture(scope="module")
def b4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """b4 in an environment of its own."""
    place = tmp_path_factory.mktemp("b4")
    venv.create(place, with_pip=True)
    install: list[str | Path] = [place / "bin" / "pip", "install", "-q", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"b4 cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return place / "bin" / "b4"


def series(place: Path, run_b4: Sequence[str | Path], home: Path, subjects: Sequence[str]) -> None:
    """A branch of b4's with these commits."""
    git(place, "config", "user.name", "A")
    git(place, "config", "user.email", "a@example.org")
    environment = {**os.environ, "HOME": str(home)}
    words = [*run_b4, "prep", "-n", "topic", "-f", "main"]
    subprocess.run(words, cwd=place, env=environment, check=True, capture_output=True)
    for subject in subjects:
        (place / "mm" / "cma.c").write_text(f"{subject}\n")
        git(place, "commit", "-q", "-a", "-m", f"mm: {subject}\n\nWhy it is done.\n")


@pytest.mark.slow("b4 is installed from a package index")
def test_b4_tells_errors_remarks_and_clean_patches_apart(b4: Path, tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    script = tmp_path / "check"
    script.write_text(CHECK.format(python=sys.executable, path=str(PYTHON_PATH)))
    script.chmod(0o755)
    git(tree, "config", "b4.prep-perpatch-check-cmd", str(script))
    series(tree, [b4], tmp_path, ["fine", "broken", "untested"])
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [b4, "prep", "--check"], cwd=tree, env=environment, capture_output=True, text=True
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert "check: mm/cma.c:3: ERROR: test newly fails: broken" in said
    assert "check: mm/cma.c:3: CHECK: test newly fails: untested" in said
    assert "Success: 1, Warning: 1, Error: 1" in said
