# SPDX-License-Identifier: MIT
"""Who has nothing to do over ssh does not wait until its library is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["harness.guest.guest", "harness.pytest_plugin.cases", "harness.gate.gate", "harness.cli.app"],
)
def test_paramiko_is_loaded_at_its_first_use(module: str) -> None:
    code = f"import sys, {module}; print('paramiko' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
