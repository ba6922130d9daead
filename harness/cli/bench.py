# SPDX-License-Identifier: MIT
"""``harness bench``: this harness against labgrid and plain pexpect."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.bench.plot import plot
from harness.bench.run import ROWS, measure, table, titles
from harness.cli import options
from harness.errors import UserError
from harness.host.output import check_file, save
from harness.host.programs import check_installed

SVG = ("<svg", "<?xml")


def _rows(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    rows = value.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(ROWS)}")
    return rows


@click.command
@click.option(
    "--rounds",
    metavar="N",
    type=options.POSITIVE,
    default=7,
    show_default=True,
    help="Rounds of the short rows.",
)
@click.option(
    "--tests",
    metavar="N",
    type=options.POSITIVE,
    default=100,
    show_default=True,
    help="Tests in the suite.",
)
@click.option(
    "--rows",
    metavar="ROW,...",
    default=",".join(ROWS),
    callback=_rows,
    help=f"Which of {', '.join(ROWS)} (default: all).",
)
@click.option(
    "--tree",
    metavar="DIR",
    type=options.PATH,
    help="A git tree of Linux, for the row watch; it is cloned, and only read.",
)
@click.option("--svg", metavar="FILE", type=options.OUTPUT, help="Write the plot there.")
@options.as_json("Print the figures as JSON.")
@options.unconfined
@options.debug
def command(
    rounds: int,
    tests: int,
    rows: list[str],
    tree: Path | None,
    svg: Path | None,
    as_json: bool,
) -> int:
    """Measure against labgrid and ten lines of pexpect, on the same images, in one run.

    Medians and ratios; a peer that cannot do a row has none.
    """
    check_installed()
    if svg:
        check_file(svg, SVG)
    if tree is None:
        rows = [row for row in rows if row != "watch"]
        if not rows:
            raise UserError("the row watch needs --tree DIR, a git tree of Linux")
    results = measure(rows, rounds, tests, tree)
    print(json.dumps(results, indent=2) if as_json else table(results, tests))
    if svg:
        save(svg, plot(results, titles(tests)), SVG)
    return 0
