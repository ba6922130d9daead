# SPDX-License-Identifier: MIT
"""``harness shell``: a booted guest on the user's terminal."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.cli.systems import System


@click.command
@options.system
@options.output("Keep console and logs there.", "--artifacts")
@click.option(
    "--test",
    metavar="TEST",
    help="Run this test, as pytest names it, and open its machine as it left it.",
)
@click.option(
    "--image-set",
    metavar="FILE",
    type=options.PATH,
    help="Boot what this manifest names (a run's images.json); nothing is built.",
)
@click.option(
    "--gdb",
    is_flag=True,
    help="Wait for gdb before the guest goes on; with --test, run gdb on the machine.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Let `harness cp` and `harness run --in NAME` reach the guest while it is open.",
)
@options.debug
def command(
    output: Path | None,
    test: str | None,
    image_set: Path | None,
    gdb: bool,
    name: str | None,
    **system: Any,
) -> int:
    """Open a shell in a pristine, booted guest. Ctrl-] leaves it; the guest ends with that.

    With --test it is the guest as that test left it, passed or failed.
    """
    from harness.cli.systems import chosen, given, pristine, say
    from harness.errors import UserError
    from harness.guest.guest import Guest
    from harness.guest.held import check_images, free, served
    from harness.guest.terminal import join
    from harness.host.output import claim
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS
    from harness.machine.deadline import Deadline

    if not sys.stdin.isatty():
        raise UserError(
            "standard input is no terminal; to run one command in a guest: harness run -- COMMAND"
        )
    if test is not None and name is not None:
        raise click.UsageError("--name is for a pristine guest: not with --test")
    if name is not None:
        free(name)
    check_installed()
    place = (output or ARTIFACTS / "shell").absolute()
    claim(place)
    found = chosen(system) if image_set is None else given(image_set, system)
    if name is not None:
        check_images(found.images)
    if test is not None:
        return _held(found, test, place, "gdb" if gdb else "shell")
    Deadline.stopped = gdb
    with contextlib.ExitStack() as stack:
        gdb_to = sys.stderr if gdb else None
        machine = stack.enter_context(pristine(found, place, say, gdb=gdb_to))
        if name is not None:
            stack.enter_context(served(name, Guest(machine, found.area)))
        say("a pristine guest (leave: Ctrl-]; Enter for a prompt)")
        join(machine)
    return 0


def _held(found: System, test: str, place: Path, how: str) -> int:
    """Runs a test, whose machine is opened at its end; 0 where it passes, 1 where it fails."""
    from harness.cli.test import arguments
    from harness.errors import HarnessError, UserError
    from harness.host.output import set_aside
    from harness.host.project import ROOT
    from harness.pytest_plugin.selection import name_without_kernel

    set_aside(place, ("tests", "images.json", "select.txt"))
    manifest, select = place / "images.json", place / "select.txt"
    found.images.write(manifest)
    words = ["-q", "-n0", "-p", "no:cacheprovider", "--timeout=0", "--qemu-hold", how]
    words += ["--qemu-image-set", str(manifest), "--qemu-artifacts", str(place / "tests")]
    words += ["--qemu-memory", str(found.memory_mib), "--qemu-area", found.area]
    file, _, rest = test.partition("::")
    if Path(file).is_file():
        words.append(test)
    elif (ROOT / file).is_file():
        # Named as in any run: the kernel in its parameters may be another one.
        select.write_text(f"{name_without_kernel(test)}\n")
        words += [f"{ROOT / file}", "--qemu-select", str(select)]
    else:
        raise UserError(f"--test {test}: there is no file {file}")
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments(words)], check=False)
    if done.returncode in (0, 1):
        return done.returncode
    if done.returncode in (4, 5):
        raise UserError(f"--test {test}: {file} has no such test ({rest or 'name one'})")
    raise HarnessError(f"pytest ended with exit status {done.returncode}")
