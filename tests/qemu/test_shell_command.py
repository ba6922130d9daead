# SPDX-License-Identifier: MIT
"""``harness shell`` and ``harness run`` as a user types them, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from harness.host.project import PYTHON_PATH
from harness.pytest_plugin.session import Session

HARNESS = [sys.executable, "-m", "harness"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PYTHON_PATH), "COLUMNS": "120"}
pytestmark = pytest.mark.usefixtures("qemu_session")


@pytest.fixture
def kernel(qemu_session: Session) -> list[str]:
    """The option for the kernel that this run has built."""
    version = qemu_session.versions[0]
    if not version.replace(".", "").isdigit():
        pytest.skip(f"no kernel of a version was built in this run, but {version}")
    return ["--kernel", version]


def test_a_shell_in_a_guest(kernel: list[str], tmp_path: Path) -> None:
    words = [*HARNESS[1:], "shell", *kernel, "--output", str(tmp_path / "out")]
    child = pexpect.spawn(HARNESS[0], words, env=ENVIRONMENT, timeout=60, cwd=str(tmp_path))
    child.delaybeforesend = None
    child.expect_exact("leave: Ctrl-]")
    child.send("\r")
    child.expect_exact("# ")
    child.send("echo a$((40+2))b\r")
    child.expect_exact("a42b")
    child.send("\x1d")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_shell_needs_a_terminal(kernel: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*HARNESS, "shell", *kernel],
        env=ENVIRONMENT,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "harness run -- COMMAND" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "output"),
    [
        (["uname -s; exit 3"], 3, b"Linux\n"),
        (["printf", "%s-", "a b", "c"], 0, b"a b-c-"),
        (["printf '\\377\\000\\033[1m'"], 0, b"\xff\0\x1b[1m"),
        (["kill -9 $$"], 137, b""),
    ],
)
def test_a_command_in_a_guest(
    kernel: list[str], tmp_path: Path, words: list[str], status: int, output: bytes
) -> None:
    argv = [*HARNESS, "run", *kernel, "--output", str(tmp_path / "out"), "--", *words]
    done = subprocess.run(argv, env=ENVIRONMENT, cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout) == (status, output), done.stderr


def test_the_main_job_as_json(kernel: list[str], tmp_path: Path) -> None:
    argv = [*HARNESS, "run", *kernel, "--json", "--output", str(tmp_path / "out")]
    done = subprocess.run(argv, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "pass"
    assert report["allocation"]["start"] == "0x69800000"
    assert [area["name"] for area in report["map"]["areas"]] == ["linux,cma", "BiscuitOS_cma"]
