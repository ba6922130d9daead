# SPDX-License-Identifier: MIT
"""``harness run -- COMMAND``: what the command in the guest printed is passed on."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from harness.host.project import PYTHON_PATH

EVERY_BYTE = bytes(range(256)) + b"\x1b[31m\r\n\xff\xfe no newline at the end"
PROGRAM = """\
import sys
from harness.cli.run import _pass_on
from harness.host.command import run_command

def call():
    print("before")
    print("before", file=sys.stderr)
    _pass_on(sys.stdout, bytes.fromhex(sys.argv[1]))
    _pass_on(sys.stderr, bytes.fromhex(sys.argv[1]))
    print("after")
    return 7

sys.exit(run_command(call))
"""
COMMAND = [sys.executable, "-c", PROGRAM, EVERY_BYTE.hex()]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PYTHON_PATH), "PYTHONUNBUFFERED": ""}


def test_a_pipe_gets_every_byte_as_it_is_and_in_its_place() -> None:
    done = subprocess.run(COMMAND, env=ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == 7
    assert done.stdout == b"before\n" + EVERY_BYTE + b"after\n"
    assert done.stderr == b"before\n" + EVERY_BYTE


def test_a_terminal_gets_nothing_that_it_obeys() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, env=ENVIRONMENT, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while not shown.endswith(b"after\r\n"):
            shown += os.read(ours, 65536)
        os.close(ours)
    assert process.returncode == 7
    assert b"\x1b" not in shown
    assert b"no newline at the end" in shown
