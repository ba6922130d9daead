# SPDX-License-Identifier: MIT
"""``--qemu-shell``: a failed test's machine on the user's terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

import pytest

from harness.machine.machine import Machine

LEAVE = b"\x1d"  # Ctrl-]


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


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
        with _raw(sys.stdin.fileno()):
            _bridge(sys.stdin.fileno(), sys.stdout.fileno(), machine)
    finally:
        if capture is not None:
            capture.resume_global_capture()


def _bridge(keys: int, screen: int, machine: Machine) -> None:
    woken, wake = os.pipe()

    def show(data: bytes, _now: float) -> None:
        os.write(screen, data)

    machine.log.listen(show)
    machine.log.on_close(lambda: os.close(wake))
    try:
        while True:
            ready, _, _ = select.select([keys, woken], [], [])
            typed = os.read(keys, 1024) if keys in ready else b""
            if woken in ready or LEAVE in typed:
                return
            os.write(machine.console.fd, typed)
    finally:
        os.close(woken)
