# SPDX-License-Identifier: MIT
"""The wheel in a fresh environment, and a directory that has nothing of this project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from harness.host.project import ROOT

_OURS = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "COV_CORE_SOURCE", "VIRTUAL_ENV")
"""Variables by which the checkout could help."""


class Installed:
    """A fresh environment with the wheel, and somebody else's repository."""

    def __init__(self, environment: Path, repository: Path) -> None:
        self.environment = environment
        self.bin = environment / "bin"
        self.repository = repository

    def variables(self) -> dict[str, str]:
        """The environment variables of somebody who has activated it."""
        own = {name: value for name, value in os.environ.items() if name not in _OURS}
        return {**own, "COLUMNS": "200", "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def run(
        self, *words: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment in the repository."""
        return subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.repository,
            env={**self.variables(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )


def made_once(place: Path) -> Path:
    """The environment in `place`, which the first of several processes makes."""
    environment, ready = place / "environment", place / "ready"
    with FileLock(place / "lock"):
        if not ready.exists():
            _make(place, environment)
            ready.touch()
    return environment


def _make(place: Path, environment: Path) -> None:
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(place)]
    subprocess.run([*words, str(ROOT)], check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    venv.create(environment, with_pip=True)
    # The same versions as here, without their digests: pip takes those for all or for none.
    pins = re.findall(r"(?m)^[\w.-]+==\S+", (ROOT / "requirements.txt").read_text())
    (place / "pins.txt").write_text("\n".join(pins) + "\n")
    pip = ["python", "-m", "pip", "install", "-q", "--no-input", "--only-binary", ":all:"]
    done = Installed(environment, place).run(*pip, "-c", str(place / "pins.txt"), str(wheel))
    assert done.returncode == 0, done.stderr
