# SPDX-License-Identifier: MIT
"""``harness build``: the images without a machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from harness.cli import options


@click.command
@options.kernel()
@options.variant
@options.config
@click.option("--update", is_flag=True, help="Ask apt for newer versions than those in use.")
@options.as_json("Print the paths as JSON.")
@options.unconfined
@options.debug
def command(
    kernel: str | Path | None,
    variant: str | None,
    config: tuple[Path, ...],
    update: bool,
    as_json: bool,
) -> int:
    """Build the images only, and print their paths."""
    from harness.cli.systems import build
    from harness.host.programs import check_installed

    check_installed()
    if update:
        from harness.builders.apt import unpin
        from harness.builders.cache import Cache

        unpin(Cache())
    images = build(kernel, variant=variant or "", config=config)
    values = {field.name: getattr(images, field.name) for field in dataclasses.fields(images)}
    if as_json:
        print(json.dumps({name: _plain(value) for name, value in values.items()}, indent=2))
        return 0
    for name, value in values.items():
        shown = " ".join(sorted(value)) if isinstance(value, frozenset) else value
        print(f"{name:<12}{shown}")
    return 0


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return str(value) if isinstance(value, Path) else value
