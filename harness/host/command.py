# SPDX-License-Identifier: MIT
"""How the project's commands end: exit status, one message, signals.

Exit status 1 says that the system under test is at fault, so nothing else may end with it: whatever
else goes wrong, a fault of the harness itself included, is one line on standard error and exit
status 3, with a report file for whoever mends it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import resource
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from harness.errors import HarnessError, UserError, Verdict
from harness.plaintext import CleanStream, clean

INFRASTRUCTURE = 3
INTERRUPTED, TERMINATED, NO_READER = 130, 143, 141
"""As a shell has them: 128 and the signal's number (SIGINT, SIGTERM, SIGPIPE)."""


_FILES = 4096
"""Open files that are enough for all we do."""
_HOST = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
"""Errors of this host, whatever was opened."""


class Terminated(BaseException):
    """SIGTERM: raises like Ctrl-C, so that machines and child processes are ended."""


def exit_status(error: HarnessError) -> int:
    """2 for the user's input, 3 for infrastructure, 1 for the system under test."""
    if isinstance(error, UserError):
        # A file that cannot be read for want of descriptors is not what the user gave.
        cause = error.__cause__
        return INFRASTRUCTURE if isinstance(cause, OSError) and cause.errno in _HOST else 2
    return INFRASTRUCTURE if error.verdict is Verdict.INFRASTRUCTURE else 1


def run_command(call: Callable[[], int], on_error: Callable[[], object] | None = None) -> int:
    """Calls a command; its exit status. An error is one message on standard error: `exit_status`,
    130 interrupted, 143 terminated, 3 for everything that nobody foresaw. `on_error` is called
    before the message.
    """
    open_standard_streams()
    _allow_more_files()
    handler = signal.signal(signal.SIGTERM, _terminate)
    hook, threading.excepthook = threading.excepthook, _thread_failed
    stdout, sys.stdout = sys.stdout, CleanStream(sys.stdout)
    try:
        return _run(call, on_error)
    finally:
        sys.stdout = stdout
        threading.excepthook = hook
        signal.signal(signal.SIGTERM, handler)


def _run(call: Callable[[], int], on_error: Callable[[], object] | None) -> int:
    try:
        status = call()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _end(on_error, "interrupted", INTERRUPTED)
    except Terminated:
        return _end(on_error, "terminated", TERMINATED)
    except HarnessError as error:
        return _end(on_error, f"error: {error}", exit_status(error))
    except BrokenPipeError as error:
        if _reader_gone():
            # The reader (`| head`) has closed the pipe: no message.
            _discard_output()
            return NO_READER
        return _end(on_error, unexpected(error), INFRASTRUCTURE)
    except Exception as error:
        return _end(on_error, unexpected(error), INFRASTRUCTURE)
    return status


def open_standard_streams() -> None:
    """Opens ``/dev/null`` for each standard stream that the caller closed.

    Else the next file that is opened gets its number, and whatever is printed goes there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _allow_more_files() -> None:
    """As many open files as the caller's hard limit lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if 0 <= soft < wanted:  # infinity is -1
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def unexpected(error: BaseException) -> str:
    """One line on an error that nobody foresaw, and where its report is."""
    said = " ".join(str(error).split()) or "no message"
    report = write_report(error)
    where = f" (report: {report})" if report else ""
    if isinstance(error, OSError | MemoryError):
        return f"error: this host: {said}{where}"
    return f"error: a fault of the harness itself: {type(error).__name__}: {said}{where}"


def write_report(error: BaseException) -> str:
    """Writes what a developer needs into a file of the temporary directory, readable by this user
    only; its path, or nothing where it cannot be written.
    """
    text = [
        f"command: {sys.argv!r}",
        f"Python {platform.python_version()}, {platform.platform()}",
        "".join(traceback.format_exception(error)),
    ]
    try:
        number, path = tempfile.mkstemp(prefix="harness-report-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(text))
    except OSError:
        return ""
    return path


def _end(on_error: Callable[[], object] | None, text: str, status: int) -> int:
    # Standard error may be full or gone; the status says it all the same.
    with contextlib.suppress(OSError, ValueError):
        if on_error is not None:
            on_error()
        print(clean(text), file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _discard_output()
    return status


def _reader_gone() -> bool:
    """Whether nobody reads our standard output any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard_output() -> None:
    """What could not be written must not be tried again when the interpreter ends."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        with contextlib.suppress(OSError, ValueError):
            print(clean(unexpected(failed.exc_value)), file=sys.stderr)
