# SPDX-License-Identifier: MIT
"""A machine's console on the user's terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

from harness.machine.machine import Machine

LEAVE = b"\x1d"  # Ctrl-]


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)  # what was typed before counts
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def join(machine: Machine) -> None:
    """Joins the terminal (standard input, which must be one) and the guest's console, until
    Ctrl-] or the guest's end.
    """
    with _raw(sys.stdin.fileno()):
        _bridge(sys.stdin.fileno(), sys.stdout.fileno(), machine)


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
