# SPDX-License-Identifier: MIT
"""Programs of the host: a clean environment for them, and none left running."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.host import programs

TERMINATE_SECONDS = 5.0

# Variables of the caller that would change what make or gcc yield without being in any key.
_DROPPED = re.compile(
    r"(KBUILD|KCONFIG|MAKE|GIT_|LLVM|INSTALL_)\w*|(K|HOST|USER)?(C|A|LD|CPP)FLAGS|MFLAGS|ARCH|"
    r"CROSS_COMPILE|LOCALVERSION|CPATH|\w*INCLUDE_PATH|SOURCE_DATE_EPOCH|CC|LD|AS|HOSTCC|[OVWCM]"
)


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change a result behind the key's back."""
    kept = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
    return {**kept, "LC_ALL": "C"}


def capture(
    argv: Sequence[str | Path], cwd: Path | None = None, data: bytes = b""
) -> tuple[int, bytes, str]:
    """Runs a short program on `data`; returns its exit status, its output and its errors.

    Raises `UserError` where it is not installed.
    """
    command = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            process_group=0,
        )
    except FileNotFoundError as error:
        raise programs.missing(command[0]) from error
    try:
        output, errors = process.communicate(data)
    finally:
        kill_group(process)
    return (
        process.returncode,
        output,
        errors.decode(errors="replace"),
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of a process group led by `process`, first gently, and reaps the leader."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERMINATE_SECONDS)
            if not _group_lives(process.pid):
                return
    process.wait()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
