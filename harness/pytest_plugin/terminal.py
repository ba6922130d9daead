# SPDX-License-Identifier: MIT
"""``--qemu-shell``, ``--qemu-hold``: a test's machine on the user's terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import pytest

from harness.guest import debugger
from harness.guest.terminal import join
from harness.machine.deadline import Deadline
from harness.machine.machine import Machine


def open_shell(config: pytest.Config, machine: Machine, said: str) -> None:
    """Joins the terminal and the guest's console until Ctrl-] or the guest's end."""
    with _terminal(config) as there:
        if there:
            print(f"\r\n{said} (leave: Ctrl-]; Enter for a prompt)\r")
            join(machine)


def open_gdb(config: pytest.Config, machine: Machine, said: str) -> None:
    """Runs gdb on the machine, which stands still meanwhile; without gdb, says how to attach and
    opens a shell.
    """
    with _terminal(config) as there, debugger.served(machine) as command:
        if not there:
            return
        print(f"\r\n{said}\r\ngdb: {command}\r")
        if not debugger.run(command):
            print(
                "gdb-multiarch is not installed; attach from another host's gdb, or leave: Ctrl-]\r"
            )
            join(machine)


@contextlib.contextmanager
def _terminal(config: pytest.Config) -> Iterator[bool]:
    """Whether standard input is a terminal; pytest leaves it alone for the block, and no deadline
    ends.
    """
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    stopped, Deadline.stopped = Deadline.stopped, True
    try:
        there = sys.stdin is not None and sys.stdin.isatty()
        if not there:
            print("--qemu-shell, --qemu-hold: standard input is no terminal")
        yield there
    finally:
        Deadline.stopped = stopped
        if capture is not None:
            capture.resume_global_capture()
