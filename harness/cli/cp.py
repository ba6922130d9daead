# SPDX-License-Identifier: MIT
"""``harness cp``: files into and out of a machine that ``harness shell --name NAME`` holds."""

from __future__ import annotations

import stat

import click

from harness.cli import options
from harness.errors import UserError
from harness.host.userpath import expanded


@click.command(epilog="For a machine of its own: harness run --put FILE:PATH --get PATH:FILE.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@options.debug
def command(source: str, target: str) -> int:
    """Copy a file into or out of a held machine: one of SOURCE and TARGET is NAME:PATH.

    The machine is the one that `harness shell --name NAME` has open.
    """
    from harness.guest.held import Held

    there, here = _remote(source), _remote(target)
    if (there is None) == (here is None):
        raise UserError(f"cp {source} {target}: one of them is NAME:PATH, with a PATH from /")
    if here is not None:
        name, path = here
        file = expanded(source)
        try:
            data, mode = file.read_bytes(), stat.S_IMODE(file.stat().st_mode)
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from error
        Held(name).put(data, path + file.name if path.endswith("/") else path, mode)
        return 0
    assert there is not None
    name, path = there
    to = expanded(target)
    to = to / path.rpartition("/")[2] if to.is_dir() else to
    data = Held(name).get(path)
    try:
        to.write_bytes(data)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from error
    return 0


def _remote(text: str) -> tuple[str, str] | None:
    name, colon, path = text.partition(":")
    return (name, path) if colon and path.startswith("/") and "/" not in name else None
