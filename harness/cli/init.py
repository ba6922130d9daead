# SPDX-License-Identifier: MIT
"""``harness init``: the files with which a repository of the user's begins."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options


@click.command
@click.argument("directory", metavar="[DIR]", type=options.PATH, required=False)
@options.debug
def command(directory: Path | None) -> int:
    """Write a harness.toml, a first test and CI workflows into a repository (default: here).

    What is there already stays as it is.
    """
    from harness.cli.starter import FILES
    from harness.errors import UserError

    place = directory or Path.cwd()
    if not place.is_dir():
        raise UserError(f"{place} is no directory")
    for file in FILES:
        path = place / file.path
        there = path.exists() or path.is_symlink()
        if not there:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file.content, encoding="utf-8")
                path.chmod(0o755 if file.program else 0o644)
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror}") from error
        print(f"{file.path:<27} {'is there already: left as it is' if there else file.purpose}")
    print("\nNow: ci/run (the first run builds a kernel: some minutes), then git add and commit.")
    return 0
