# SPDX-License-Identifier: MIT
"""What the commands beside `harness.cli` share: how they end, and the arguments they have in
common.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable

from harness.cli import Terminated, exit_status
from harness.errors import HarnessError


def guarded(call: Callable[[], int]) -> int:
    """A command's exit status. Its errors are one message on standard error.

    SIGTERM unwinds like Ctrl-C: 143, and 130.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return call()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print("terminated", file=sys.stderr)
        return 143
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_status(error)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def positive(text: str) -> int:
    """An argument that is a number, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def shard(text: str) -> tuple[int, int]:
    """An argument ``I/N``: the I-th of N parts."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part[0] <= part[1]:
        raise argparse.ArgumentTypeError(f"{text}: expected I/N with I from 1 to N")
    return part
