# SPDX-License-Identifier: MIT
"""``--qemu-shell``: a failed test's machine on the user's terminal."""

from __future__ import annotations

import sys

import pytest

from harness.guest.terminal import join
from harness.machine.machine import Machine


def open_shell(config: pytest.Config, machine: Machine) -> None:
    """Joins the terminal and the guest's console until Ctrl-] or the guest's end."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    try:
        if not sys.stdin.isatty():
            print("--qemu-shell: standard input is no terminal")
            return
        print("\r\nthe failed test's machine (leave: Ctrl-]; Enter for a prompt)\r")
        join(machine)
    finally:
        if capture is not None:
            capture.resume_global_capture()
