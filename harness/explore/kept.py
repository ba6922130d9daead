# SPDX-License-Identifier: MIT
"""Sequences that were found once: kept in the cache, and run first the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.errors import HarnessError, UserError, Verdict
from harness.explore.model import Operation
from harness.explore.sequence import Found, read

DIRECTORY = "sequences"
"""Of the cache."""


def kept(directory: Path) -> Iterator[Found]:
    """All that are kept, the newest first. What cannot be read is passed over: an older harness may
    have written it.
    """
    for path in sorted(directory.glob("*.json"), key=lambda path: -path.stat().st_mtime):
        try:
            yield read(path)
        except UserError:
            continue


def first_to_differ(
    run: Callable[[Sequence[Operation]], None], sequences: Sequence[Found]
) -> tuple[Found, HarnessError] | None:
    """The first on which the system differs from the model, and how; None where none does.

    Raises `HarnessError` where the host is at fault.
    """
    for found in sequences:
        try:
            run(found.operations)
        except HarnessError as error:
            if error.verdict is Verdict.INFRASTRUCTURE:
                raise
            return found, error
    return None
