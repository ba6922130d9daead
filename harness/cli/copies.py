# SPDX-License-Identifier: MIT
"""Files that a command copies into a guest before, and out of it afterwards."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import UserError
from harness.host.userpath import expanded

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclasses.dataclass(frozen=True)
class Copies:
    """What is copied."""

    puts: tuple[tuple[Path, str], ...] = ()
    """Files of this host, and where they go."""
    gets: tuple[tuple[str, Path], ...] = ()
    """Files of the guest, and where they go."""

    def bring(self, guest: Guest) -> None:
        """Copies into the guest. Raises `UserError`, `GuestFileError`."""
        for source, path in self.puts:
            guest.put(source, path, mode=stat.S_IMODE(source.stat().st_mode))

    def fetch(self, guest: Guest) -> None:
        """Copies out of the guest. Raises `GuestFileError`, `UserError`."""
        for path, target in self.gets:
            guest.get(path, target)


def copies(puts: Sequence[str], gets: Sequence[str], with_command: bool) -> Copies:
    """What ``--put`` and ``--get`` say, checked before a guest is there. Raises `UserError`."""
    if (puts or gets) and not with_command:
        raise click.UsageError("--put and --get go with a command: -- COMMAND")
    return Copies(tuple(map(_put, puts)), tuple(map(_get, gets)))


def _put(text: str) -> tuple[Path, str]:
    file, colon, path = text.rpartition(":")
    if not colon or not file or not path.startswith("/"):
        raise UserError(f"--put {text}: expected FILE:PATH, where PATH in the guest begins with /")
    source = expanded(file).absolute()
    if not source.is_file():
        raise UserError(f"--put {text}: there is no file {source}")
    if path.endswith("/"):
        path += source.name
    return source, path


def _get(text: str) -> tuple[str, Path]:
    path, colon, file = text.partition(":")
    if not colon or not file or not path.startswith("/") or path.endswith("/"):
        raise UserError(f"--get {text}: expected PATH:FILE, where PATH in the guest begins with /")
    target = expanded(file).absolute()
    if target.is_dir():
        target /= path.rpartition("/")[2]
    if not target.parent.is_dir():
        raise UserError(f"--get {text}: there is no directory {target.parent}")
    return path, target
