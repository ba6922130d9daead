# SPDX-License-Identifier: MIT
"""Who has written to a socket, as the kernel says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.machine import confine
from harness.machine.errors import MachineError
from harness.machine.process import Process, sender, spawn


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


def test_the_writer_is_known() -> None:
    ours, theirs = pair()
    with ours, theirs:
        script = f"import os; os.write({theirs.fileno()}, b'hello'); print(os.getpid())"
        done = subprocess.run(
            [sys.executable, "-c", script],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            check=True,
        )
        assert sender(ours, 10) == int(done.stdout)


def test_one_that_ends_without_a_word_is_an_error() -> None:
    ours, theirs = pair()
    theirs.close()
    with ours, pytest.raises(MachineError, match="its end was closed"):
        sender(ours, 10)


def test_one_that_says_nothing_is_an_error() -> None:
    ours, theirs = pair()
    with ours, theirs, pytest.raises(MachineError, match=r"nothing came within 0\.01 s"):
        sender(ours, 0.01)


@pytest.mark.parametrize(
    ("script", "wrapped", "status"),
    [
        ("exit 3", False, 3),
        ("exit 3", True, 3),
        ("exit 137", True, -9),
        ("kill -9 $$", False, -9),
    ],
)
def test_a_status_is_qemu_s_own(script: str, wrapped: bool, status: int) -> None:
    started = subprocess.Popen(["sh", "-c", script], process_group=0)
    assert Process(started, wrapped).wait(10) == status


@pytest.mark.parametrize(
    ("trap", "grace", "status"), [("", 0.01, -9), ("exit 3", 10.0, 3), ("exit 3", 0.0, -9)]
)
def test_one_that_does_not_end_by_itself_in_its_time_is_killed(
    trap: str, grace: float, status: int
) -> None:
    script = f"trap '{trap}' TERM; echo; while :; do read -r line; done"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        assert Process(started, wrapped=False).end(grace) == status
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


def test_who_was_killed_is_gone_when_the_one_that_waits_for_it_has_ended() -> None:
    inner = "exec python3 -c 'print(flush=True); data = bytearray(1 << 26); input()'"
    with subprocess.Popen(
        ["sh", "-c", f"({inner}) <&0 & echo $!; wait $!; exit $?"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as started:
        assert started.stdout is not None
        process = Process(started, wrapped=True)
        process.pid = int(started.stdout.readline())
        started.stdout.readline()
        assert process.end(0) == -9
        assert not Path(f"/proc/{process.pid}").exists()


def gated(script: str) -> Process:
    """A program behind the gate."""
    out, into = os.pipe()
    try:
        return spawn(["sh", "-c", script], [], into, network=False)
    finally:
        os.close(out)
        os.close(into)


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all programs take QEMU's arguments."""
    monkeypatch.setattr(confine, "FILTER", ())
    try:
        confine.means()
    except UserError as error:
        pytest.skip(str(error).partition("\n")[0])


@pytest.mark.usefixtures("unfiltered")
def test_it_waits_at_the_gate_and_its_pid_is_known_then() -> None:
    process = gated("exit 3")
    process.release(20)
    assert process.wait(20) == 3


@pytest.mark.usefixtures("unfiltered")
def test_the_pid_is_the_program_s_own() -> None:
    process = gated("while :; do :; done")
    process.release(20)
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "bwrap" not in status
    finally:
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -9


@pytest.mark.usefixtures("unfiltered")
def test_whoever_is_not_told_to_go_ends() -> None:
    process = gated("sleep 1000")
    assert process._gate is not None
    process._gate.close()
    assert process.wait(20) != 0
