# SPDX-License-Identifier: MIT
"""Sending on a line whose other end is gone."""

from __future__ import annotations

import os
import threading

import pexpect
import pytest

from harness.machine import line as line_module
from harness.machine.deadline import Deadline
from harness.machine.errors import QemuDied
from harness.machine.line import Line
from harness.machine.transcript import Transcript


@pytest.fixture
def line() -> Line:
    """A line whose other end has just gone, which its reader does not know yet."""
    transcript = Transcript(None)
    theirs, ours = os.pipe()
    os.close(theirs)
    return Line(ours, transcript.stream("ttyAMA1"), transcript)


def test_a_sender_that_learns_of_the_end_first_waits_for_what_it_was(line: Line) -> None:
    calls: list[bool] = []

    def guard() -> None:
        calls.append(line.stream.closed)
        if len(calls) == 2:  # after the failed write: the reader sees the end a moment later
            threading.Thread(target=line.stream.close).start()
        if line.stream.closed:
            raise QemuDied("QEMU died", -9, "")

    with pytest.raises(QemuDied):
        line.send(b"true\n", Deadline(30), guard)
    assert calls[:2] == [False, False]


def test_where_nobody_knows_what_it_was_the_line_is_closed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "HUNG_UP", 0)
    with pytest.raises(pexpect.EOF, match="ttyAMA1 is closed"):
        line.send(b"true\n", Deadline(30), lambda: None)
