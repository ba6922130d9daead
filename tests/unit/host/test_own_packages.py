# SPDX-License-Identifier: MIT
"""What the tests' own packages are called hides no library."""

from __future__ import annotations

import subprocess
import sys

from harness.host.project import ROOT


def test_pytest_may_be_started_in_any_directory_of_the_tests() -> None:
    """``python -m`` puts that directory first; ``tests/qemu`` is ``qemu`` there."""
    script = "import sys; sys.path.insert(1, sys.argv[1]); import harness.machine.qmp"
    for directory in (ROOT, ROOT / "tests", ROOT / "tests" / "unit"):
        done = subprocess.run(
            [sys.executable, "-c", script, ROOT], cwd=directory, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
