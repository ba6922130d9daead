# SPDX-License-Identifier: MIT
"""How the project's commands end: exit status, one message, signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from harness.errors import HarnessError, UserError, Verdict


class Terminated(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that whatever has a life ends with it."""


def exit_status(error: HarnessError) -> int:
    """2 for the user's input, 3 for infrastructure, 1 for the system under test."""
    if isinstance(error, UserError):
        return 2
    return 3 if error.verdict is Verdict.INFRASTRUCTURE else 1


def run_command(call: Callable[[], int], on_error: Callable[[], object] | None = None) -> int:
    """Calls a command; its exit status. An error is one message on standard error: `exit_status`,
    130 interrupted, 143 terminated. `on_error` is called before the message.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = call()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _end(on_error, "interrupted", 130)
    except Terminated:
        return _end(on_error, "terminated", 143)
    except HarnessError as error:
        return _end(on_error, f"error: {error}", exit_status(error))
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nothing is left to be said.
        sys.stdout = None
        return 141
    return status


def _end(on_error: Callable[[], object] | None, text: str, status: int) -> int:
    if on_error is not None:
        on_error()
    print(text, file=sys.stderr)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
