# SPDX-License-Identifier: MIT
"""Tools of this host that read what a patch, a guest or a stranger made: git, addr2line, debugfs …

They are as old and as large as what they read is hostile, so each runs confined (see
`harness.host.confine`): it sees the files that it is given, and writes nothing but the directories
that it is given. Where this host can confine nothing, it runs only if the user said so.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.host import confine, programs
from harness.host.confine import NoMeans, Program

UNCONFINED = "HARNESS_UNCONFINED"
"""The environment variable that says that what cannot be confined on this host may run as any
program of this user's. It is how ``--unconfined`` reaches the processes of a run.
"""
_MEMORY = 4 * 2**30
_NOTHING: Mapping[str, str] = {}


def unconfined_allowed() -> bool:
    """Whether the user said that everything here may run unconfined where it must."""
    return bool(os.environ.get(UNCONFINED))


def run(
    command: Sequence[str | Path],
    readable: Sequence[Path] = (),
    seconds: float = 60.0,
    data: bytes = b"",
    *,
    writable: Sequence[Path] = (),
    cwd: Path | None = None,
    environment: Mapping[str, str] = _NOTHING,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a short program on `data`, or on files which are not to be trusted, to its end.

    `writable` are directories, which become those of its uid. Raises `NoMeans` where this host
    cannot confine it, `UserError` where it is not installed, `subprocess.TimeoutExpired`,
    `OSError`.
    """
    words = tuple(map(str, command))
    if programs.locate(words[0]) is None:
        raise programs.missing(words[0])
    program = Program(
        words,
        cwd or Path("/"),
        tuple(path.resolve() for path in writable),
        tuple(path.resolve() for path in readable),
        environment={"LC_ALL": "C", **environment},
        limits={"RLIMIT_CORE": 0, "RLIMIT_AS": _MEMORY, "RLIMIT_CPU": int(seconds) + 1},
    )
    try:
        how = confine.find()
    except NoMeans:
        if not unconfined_allowed():
            raise
        return subprocess.run(
            words,
            cwd=program.cwd,
            input=data,
            capture_output=True,
            timeout=seconds,
            env=dict(program.variables),
            check=False,
        )
    for path in program.writable:
        confine.give_tree(path)
    return confine.run(dataclasses.replace(how, asked=False), program, seconds, data)


def capture(
    command: Sequence[str | Path],
    readable: Sequence[Path] = (),
    data: bytes = b"",
    *,
    writable: Sequence[Path] = (),
    cwd: Path | None = None,
    seconds: float = 60.0,
) -> tuple[int, bytes, str]:
    """Its exit status, its output and its errors. Raises `HarnessError` where nothing is known of
    them: this host cannot confine it, or it came to no end.
    """
    try:
        done = run(command, readable, seconds, data, writable=writable, cwd=cwd)
    except NoMeans as error:
        raise HarnessError(
            f"{command[0]} reads what is not to be trusted, and this host cannot confine it:"
            f"\n{error}\nFor what you trust: --unconfined"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"{command[0]} came to no end: {error}") from error
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")
