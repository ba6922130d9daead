# SPDX-License-Identifier: MIT
"""What ``harness init`` writes into an empty repository is green there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host.project import PYTHON_PATH
from harness.pytest_plugin.session import Session


def test_the_ci_script_of_an_empty_repository_passes(qemu_session: Session, tmp_path: Path) -> None:
    version = qemu_session.versions[0]
    if not version.replace(".", "").isdigit():
        pytest.skip(f"no kernel of a version was built in this run, but {version}")
    harness = tmp_path / "bin" / "harness"
    harness.parent.mkdir()
    harness.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harness "$@"\n')
    harness.chmod(0o755)
    repository = tmp_path / "mine"
    repository.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PATH": f"{harness.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PYTHON_PATH),
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=repository, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    run("harness", "init")
    settings = repository / "harness.toml"
    settings.write_text(settings.read_text().replace('"6.1"', f'"{version}"'))
    said = run("ci/run")
    assert "PASS BiscuitOS_cma" in said
    assert "2 passed" in said
