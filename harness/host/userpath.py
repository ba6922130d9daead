# SPDX-License-Identifier: MIT
"""What is asked of every path that a user names, before anything is done with it."""

from __future__ import annotations

import stat
from pathlib import Path

from harness.errors import UserError
from harness.plaintext import line


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~USER`` replaced. Raises `UserError` where nobody is called so, and
    where this user has no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        who = Path(path).parts[0][1:]
        why = f"there is no user {who} with a home" if who else "no home is known: set HOME"
        raise UserError(f"{line(str(path), 300)}: {why}, or write the path whole") from None


def usable(path: Path, *, pipe: bool = False) -> Path:
    """The path. Raises `UserError` for one that no command can take.

    That is a name with a control character, which would forge lines of what is shown; one that is
    too long, or a chain of links without an end; a socket; and, unless `pipe`, a named pipe, which
    might never be written to (the shell's ``<(...)`` is none).
    """
    if not str(path).isprintable() and line(str(path)) != str(path):
        raise UserError(f"{line(str(path))}: its name has a control character in it: rename it")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path  # a new one, or the command says it
    except NotADirectoryError:
        raise UserError(f"{path}: a part of that path is no directory") from None
    except PermissionError:
        return path
    except OSError as error:
        raise UserError(f"{line(str(path), 300)}: {error.strerror}") from None
    if stat.S_ISSOCK(mode) or (stat.S_ISFIFO(mode) and not pipe and not _of_process(path)):
        what = "a socket" if stat.S_ISSOCK(mode) else "a named pipe"
        raise UserError(f"{path} is {what}: name a file")
    return path


def _of_process(path: Path) -> bool:
    """Whether it is an open file of this process, as the shell names what ``<(...)`` gives."""
    return str(path.absolute()).startswith(("/dev/fd/", "/dev/std", "/proc/"))
