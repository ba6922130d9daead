# SPDX-License-Identifier: MIT
"""How a command ends: exit status 1 is the system's fault, and nothing else is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import BuildError, HarnessError, JudgementError, UserError
from harness.host.command import exit_status, run_command


def raising(error: BaseException) -> int:
    def call() -> int:
        raise error

    return run_command(call)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("no such file"), 2),
        (JudgementError("wrong area"), 1),
        (HarnessError("QEMU ended"), 3),
        (BuildError("cc1: error"), 3),
        (KeyboardInterrupt(), 130),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "/cache/x"), 3),
        (ValueError("not enough values to unpack"), 3),
        (KeyError("name"), 3),
        (MemoryError(), 3),
        (RecursionError("too deep"), 3),
        (AssertionError(), 3),
    ],
)
def test_only_the_system_s_fault_has_exit_status_1(
    error: BaseException,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert raising(error) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1, "one line"
    assert "Traceback" not in said


def test_what_nobody_foresaw_leaves_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(ValueError("two\nlines"))
    (report,) = tmp_path.glob("harness-report-*.txt")
    assert f"ValueError: two lines (report: {report})" in capsys.readouterr().err
    text = report.read_text()
    assert "Traceback" in text
    assert "in raising" in text or "in call" in text
    assert report.stat().st_mode & 0o777 == 0o600


def test_a_report_that_cannot_be_written_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert raising(OSError(errno.ENOSPC, "No space left on device")) == 3
    assert capsys.readouterr().err == "error: this host: [Errno 28] No space left on device\n"


COMMAND = """\
import sys, os, threading
from harness.errors import *
from harness.host.command import exit_status, run_command
def call():
    {body}
    return 0
sys.exit(run_command(call))
"""


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes leave their reports there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def run(body: str, tail: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    """A process that ends as `run_command` says; the shell's `tail` follows its words."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {tail}', "sh", sys.executable, "-c", COMMAND.format(body=body)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_a_full_output_is_infrastructure_without_a_traceback() -> None:
    done = run("print('x')", ">/dev/full")
    assert done.returncode == 3
    assert done.stderr.startswith("error: this host: [Errno 28] No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("tail", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(tail: str) -> None:
    done = run("print('x'); print('y', file=sys.stderr)", tail)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert run("raise JudgementError('wrong')", tail).returncode == 1
    assert run("raise ValueError('wrong')", tail).returncode == 3


def test_a_closed_input_is_an_empty_one() -> None:
    done = run("print(sys.stdin.isatty(), repr(sys.stdin.buffer.read()))", "<&-")
    assert (done.returncode, done.stdout) == (0, "False b''\n")


def test_a_full_standard_error_says_nothing_of_the_system() -> None:
    assert run("print('y', file=sys.stderr)", "2>/dev/full").returncode == 3
    assert run("raise JudgementError('wrong')", "2>/dev/full").returncode == 1


def test_nothing_that_is_printed_gets_into_a_file_that_is_opened_later(tmp_path: Path) -> None:
    body = f"f = open({str(tmp_path / 'file')!r}, 'w'); print('secret'); os.write(1, b'more')"
    assert run(body, ">&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    done = run("[print('x' * 100) for _ in range(100000)]", "| head -n 1 >/dev/null; :")
    assert done.stderr == ""


def test_a_broken_pipe_that_is_not_the_output_is_told() -> None:
    done = run("r, w = os.pipe(); os.close(r); os.write(w, b'x')")
    assert done.returncode == 3
    assert "Broken pipe" in done.stderr


def test_a_thread_that_fails_is_one_line() -> None:
    done = run("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()")
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError" in done.stderr


def test_sigterm_unwinds() -> None:
    body = f"os.kill(os.getpid(), {int(signal.SIGTERM)})"
    done = run(body)
    assert (done.returncode, done.stderr) == (143, "terminated\n")


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EMFILE, 3), (errno.EIO, 3), (errno.ENOENT, 2)]
)
def test_what_this_host_lacks_is_no_fault_of_the_input(number: int, status: int) -> None:
    error = UserError("cannot read x")
    error.__cause__ = OSError(number, os.strerror(number))
    assert exit_status(error) == status


def test_a_low_soft_limit_of_open_files_is_raised() -> None:
    body = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    limit = "import resource as r; h = r.getrlimit(r.RLIMIT_NOFILE)[1]"
    limit += "; r.setrlimit(r.RLIMIT_NOFILE, (16, h))"
    done = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{COMMAND.format(body=body)}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert int(done.stdout) > 16
