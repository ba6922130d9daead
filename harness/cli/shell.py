# SPDX-License-Identifier: MIT
"""``harness shell``: a booted guest on the user's terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli import options


@click.command
@options.system
@options.output("Keep console and logs there.", "--artifacts")
@click.option("--gdb", is_flag=True, help="Wait for gdb before the guest goes on.")
@options.debug
def command(output: Path | None, gdb: bool, **system: Any) -> int:
    """Open a shell in a pristine, booted guest. Ctrl-] leaves it; the guest ends with that."""
    from harness.cli.systems import chosen, pristine, say
    from harness.errors import UserError
    from harness.guest.terminal import join
    from harness.host.output import claim
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS
    from harness.machine.deadline import Deadline

    if not sys.stdin.isatty():
        raise UserError(
            "standard input is no terminal; to run one command in a guest: harness run -- COMMAND"
        )
    check_installed()
    place = (output or ARTIFACTS / "shell").absolute()
    claim(place)
    found = chosen(system)
    Deadline.stopped = gdb
    with pristine(found, place, say, gdb=sys.stderr if gdb else None) as machine:
        say("a pristine guest (leave: Ctrl-]; Enter for a prompt)")
        join(machine)
    return 0
