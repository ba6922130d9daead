# SPDX-License-Identifier: MIT
"""``harness parse-log``. Exit status: 0 no trouble, 1 trouble, 2 the file cannot be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.cli import options
from harness.errors import UserError


@click.command(epilog="Exit status: 0 no trouble, 1 trouble, 2 the file cannot be read.")
@click.argument("file", type=options.PATH)
@options.as_json("Print what was found as JSON.")
@options.debug
def command(file: Path, as_json: bool) -> int:
    """Judge a saved console log FILE (- is standard input).

    Reports of the kernel are found (panics, oopses, warnings, backtraces without a known head),
    and the CMA areas that it tells of.
    """
    from harness.machine.consolelog import judge_log

    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    found = judge_log(content, "standard input" if str(file) == "-" else file.name)
    print(json.dumps(found.as_dict(), indent=2) if as_json else found.describe())
    return found.exit_status
