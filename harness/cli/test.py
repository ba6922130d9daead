# SPDX-License-Identifier: MIT
"""``harness test``: pytest with QEMU, set up as the project needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from harness.cli import options
from harness.cli.settings import given, pytest_words
from harness.errors import UserError
from harness.host.programs import check_installed
from harness.host.project import INSTALLED, ROOT, SUITE
from harness.imageset.model import PARTS

_ALONE = ("--pdb", "--qemu-shell", "--qemu-gdb", "--collect-only", "--co", "--trace")
"""Options for one process: with several there is no terminal for them, or nothing to share out."""


_KERNEL = "--qemu-kernel-version X.Y, --qemu-kernel-source DIR or --qemu-kernel FILE"
_THEIRS = {
    f"--{name}": f"--qemu-{name}" for name in (*PARTS, "biscuitos", "memory", "area", "append")
}
_THEIRS |= {
    "--kernel": _KERNEL,
    "--kernel-version": "--qemu-kernel-version",
    "--kernel-source": "--qemu-kernel-source",
    "--output": "--qemu-artifacts",
    "--jobs": "-n",
}
"""Options of the other commands, and what pytest has for them."""


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    }
)
@click.argument("words", nargs=-1, metavar="[PYTEST ARGUMENTS]...", type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Run the test suite on QEMU, on all cores. All arguments go to pytest (--unconfined, as in
    other commands, is its --qemu-unconfined).

    Paths among them are taken from where you are. Without a path: all tests of the checkout, or
    the suite of an installed package.
    """
    _ours(words)
    check_installed()
    sys.stdout.flush()
    argv = [sys.executable, "-m", "pytest", *arguments(words)]
    os.execv(sys.executable, argv)


def _ours(words: Sequence[str]) -> None:
    """Raises `click.UsageError` for options of the other commands: pytest has its own for them."""
    for word in words:
        name = word.partition("=")[0]
        if name in _THEIRS:
            raise click.UsageError(f"{name}: arguments go to pytest, where it is {_THEIRS[name]}")


def arguments(words: Sequence[str]) -> list[str]:
    """pytest's arguments for those of the user."""
    tests = SUITE if INSTALLED else ROOT / "tests"
    found = given(words, "test", Path.cwd())
    if "config" in found:
        raise UserError("harness.toml: config is not for test; use pytest --qemu-image-set FILE")
    argv = ["--qemu", "--rootdir", str(ROOT), "-c", str(ROOT / "pytest.ini")]
    argv += pytest_words(found)
    argv += ["--qemu-default-tests", str(tests)]
    shared = any(word.startswith(("-n", "--numprocesses", "--dist")) for word in words)
    if not shared and not any(word in _ALONE for word in words):
        argv += ["-n", str(found.get("jobs", options.CORES))]
    return [*argv, *("--qemu-unconfined" if word == "--unconfined" else word for word in words)]
