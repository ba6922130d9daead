# SPDX-License-Identifier: MIT
"""``harness shell`` and ``harness run`` as a user types them, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


LOADED = "tests/cma/test_main_job.py::TestModule::test_insmod_finds_the_area_and_makes_the_device"


def test_a_shell_in_the_machine_as_a_test_left_it(kernel: list[str], tmp_path: Path) -> None:
    words = [*HARNESS[1:], "shell", *kernel, "--output", str(tmp_path / "out"), "--test", LOADED]
    child = pexpect.spawn(HARNESS[0], words, env=ENVIRONMENT, timeout=120, cwd=str(tmp_path))
    child.delaybeforesend = None
    child.expect_exact("left it (passed)")
    child.send("\r")
    child.expect_exact("# ")
    child.send("cut -d' ' -f1 /proc/modules\r")
    child.expect(r"\ncma\r")
    child.send("\x1d")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="gdb-multiarch is not installed")
def test_gdb_has_the_symbols_of_kernel_and_module(kernel: list[str], tmp_path: Path) -> None:
    words = [*HARNESS[1:], "shell", *kernel, "--output", str(tmp_path / "out"), "--test", LOADED]
    child = pexpect.spawn(
        HARNESS[0], [*words, "--gdb"], env=ENVIRONMENT, timeout=120, cwd=str(tmp_path)
    )
    child.delaybeforesend = None
    child.expect_exact("(gdb) ")
    child.sendline("info symbol cma_alloc")
    child.expect_exact("cma_alloc in section .text")
    child.expect_exact("(gdb) ")
    child.sendline("info symbol init_module")
    child.expect(r"init_module in section \S+ of \S*cma\.ko")
    child.expect_exact("(gdb) ")
    child.sendline("detach")
    child.expect_exact("(gdb) ")
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_files_go_in_before_a_command_and_out_after_it(kernel: list[str], tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\ntr a-z A-Z </tmp/in >/tmp/out\nexit 5\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "in").write_text("what is put\n")
    copies = ["--put", "tool:/tmp/", "--put", "in:/tmp/in", "--get", "/tmp/out:made"]
    argv = [*HARNESS, "run", *kernel, "--output", str(tmp_path / "out"), *copies, "--", "/tmp/tool"]
    done = subprocess.run(argv, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert (tmp_path / "made").read_text() == "WHAT IS PUT\n"


@pytest.fixture
def runtime() -> Iterator[str]:
    """A directory for sockets: its path is short, and pytest's own need not be."""
    with tempfile.TemporaryDirectory() as place:
        yield place


def test_others_reach_a_shell_s_guest_by_its_name(
    kernel: list[str], tmp_path: Path, runtime: str
) -> None:
    environment = {**ENVIRONMENT, "XDG_RUNTIME_DIR": runtime}
    words = [*HARNESS[1:], "shell", *kernel, "--output", str(tmp_path / "out"), "--name", "one"]
    child = pexpect.spawn(HARNESS[0], words, env=environment, timeout=60, cwd=str(tmp_path))
    child.expect_exact("leave: Ctrl-]")
    (tmp_path / "in").write_text("what is put\n")

    def run(*more: str) -> subprocess.CompletedProcess[bytes]:
        argv = [*HARNESS, *more]
        return subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True)

    assert run("cp", "in", "one:/tmp/").returncode == 0
    done = run("run", "--in", "one", "--", "tr a-z A-Z </tmp/in | tee /tmp/out; exit 4")
    assert (done.returncode, done.stdout) == (4, b"WHAT IS PUT\n"), done.stderr
    assert run("cp", "one:/tmp/out", "back").returncode == 0
    assert (tmp_path / "back").read_text() == "WHAT IS PUT\n"
    child.send("\x1d")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert b"no machine is called one" in run("cp", "in", "one:/tmp/").stderr
