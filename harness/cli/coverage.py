# SPDX-License-Identifier: MIT
"""``harness coverage``: what no test executes, from the record of a run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from harness.cli import options
from harness.host.project import ARTIFACTS


@click.command
@click.argument("record", required=False, type=options.PATH)
@click.option("--file", "only", metavar="PATH", help="This file of the kernel tree alone.")
@click.option("--lcov", metavar="FILE", type=options.OUTPUT, help="Write LCOV's tracefile.")
@click.option("--html", "page", metavar="FILE", type=options.OUTPUT, help="Write a page.")
@click.option("--cobertura", metavar="FILE", type=options.OUTPUT, help="Write Cobertura's XML.")
@options.as_json("Print the figures as JSON.")
@options.debug
def command(
    record: Path | None,
    only: str | None,
    lcov: Path | None,
    page: Path | None,
    cobertura: Path | None,
    as_json: bool,
) -> int:
    """Print, for each file and function, the lines that no test executes.

    RECORD is what pytest --qemu --qemu-coverage wrote (default: artifacts/coverage/coverage.json).
    """
    from harness.coverage import formats, summary
    from harness.coverage.record import RECORD, read
    from harness.errors import UserError
    from harness.host.output import save

    found = read(record or ARTIFACTS / "coverage" / RECORD)
    if only is not None and only not in found.code:
        raise UserError(f"--file {only}: the record has {', '.join(found.code) or 'no file'}")
    asked = found
    if only is not None:
        asked = dataclasses.replace(found, code={only: found.code[only]})
    if lcov is not None:
        save(lcov, formats.lcov(asked), ["TN:", "SF:"])
    if page is not None:
        from harness.report import coverage_page
        from harness.report.page import HEAD

        save(page, coverage_page.render(found, only), [HEAD])
    if cobertura is not None:
        save(cobertura, formats.cobertura(asked), ["<?xml", "<coverage"])
    files = summary.of(found, only)
    if as_json:
        print(json.dumps([item.as_dict() for item in files], indent=2))
    else:
        sys.stdout.write(summary.text(files))
    return 0
