# SPDX-License-Identifier: MIT
"""``harness run``: the main job, or one command in a guest."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from harness.cli import options
from harness.errors import HarnessError
from harness.host.command import exit_status
from harness.plaintext import clean

if TYPE_CHECKING:
    from harness.cli.copies import Copies
    from harness.imageset.model import ImageSet

TIMEOUT = 300.0
"""Seconds; an idle machine needs two for all, and a boot alone may take 60."""


@click.command(context_settings={"allow_interspersed_args": True})
@options.system
@options.output("Keep console, logs and results there.", "--artifacts")
@options.as_json("Print the memory map and the placement as JSON.")
@click.option("--console", is_flag=True, help="Show what the guest's serial lines say, live.")
@click.option("--gdb", is_flag=True, help="Wait for gdb; no deadline ends meanwhile.")
@click.option(
    "--timeout",
    type=options.FloatRange(1, 86400),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="The time for all that the guest has to do, its boot included.",
)
@click.option(
    "--in",
    "held",
    metavar="NAME",
    help="Run the command in the guest that `harness shell --name NAME` has open.",
)
@click.option(
    "--put",
    "puts",
    metavar="FILE:PATH",
    multiple=True,
    help="Before the command: copy a file of this host into the guest, with its mode.",
)
@click.option(
    "--get",
    "gets",
    metavar="PATH:FILE",
    multiple=True,
    help="After the command, however it ends: copy a file of the guest to this host.",
)
@options.debug
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
def command(
    output: Path | None,
    as_json: bool,
    console: bool,
    gdb: bool,
    timeout: float,
    held: str | None,
    puts: tuple[str, ...],
    gets: tuple[str, ...],
    words: tuple[str, ...],
    **system: Any,
) -> int:
    """Do the main job: build, boot, allocate, judge. It ends in PASS or says what is wrong.

    With -- COMMAND the command is run in a pristine guest, and its exit status is the status.
    """
    from harness.cli.copies import copies
    from harness.cli.main_job import Output, run
    from harness.cli.systems import chosen
    from harness.host.output import claim
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS
    from harness.machine.deadline import Deadline

    if held is not None:
        return _in_held(held, words, bool(puts or gets))
    copied = copies(puts, gets, bool(words))
    check_installed()
    kept = ARTIFACTS / "run" if output is None else output
    claim(kept)  # before a kernel is built
    found = chosen(system)
    Deadline.stopped = gdb
    where = Output(
        kept, as_json, sys.stderr if console else None, sys.stderr if gdb else None, timeout
    )
    if words:
        return _in_a_guest(found, where, words, copied)
    try:
        return run(found, where, lambda: _spoilt(found.images))
    except HarnessError as error:
        if exit_status(error) != 1:
            raise
    return run(chosen(system), where)


def _spoilt(images: ImageSet) -> bool:
    """Whether files of the cache are at fault, and not the system; that is said."""
    from harness.builders.manifest import damaged_files
    from harness.cli.systems import say

    bad = damaged_files(images.files())
    if bad:
        say(f"damaged in the cache, so it is made again and tried again: {', '.join(bad)}")
    return bool(bad)


def _in_held(name: str, words: tuple[str, ...], copied: bool) -> int:
    """Runs a shell command in a guest that another process holds; its exit status."""
    from harness.guest.held import Held

    if not words or copied:
        raise click.UsageError("--in NAME takes a command (-- COMMAND); harness cp copies files")
    line = words[0] if len(words) == 1 else shlex.join(words)
    status, output, errors = Held(name).run(line)
    _pass_on(sys.stdout, output)
    _pass_on(sys.stderr, errors)
    return status


def _in_a_guest(system: Any, output: Any, words: tuple[str, ...], copied: Copies) -> int:
    """Runs a shell command in a pristine guest; its exit status."""
    from harness.cli.main_job import all_within
    from harness.cli.systems import pristine, say
    from harness.guest.guest import Guest

    # One word is a shell line; several are a program and its arguments.
    line = words[0] if len(words) == 1 else shlex.join(words)
    with (
        all_within(output.timeout),
        pristine(system, output.artifacts, say, output.live, output.gdb) as machine,
    ):
        guest = Guest(machine, system.area)
        copied.bring(guest)
        result = guest.run(line, timeout=86400, check=False)
        copied.fetch(guest)
        machine.settle()
    _pass_on(sys.stdout, result.stdout)
    _pass_on(sys.stderr, result.stderr)
    return result.status


def _pass_on(stream: TextIO, data: bytes) -> None:
    """Writes what a command in the guest printed: a person gets it cleaned, a file as it is."""
    if stream.isatty():
        stream.write(clean(data.decode("utf-8", "replace")))
    else:
        stream.flush()  # what was printed before comes before
        stream.buffer.write(data)
    stream.flush()
