# SPDX-License-Identifier: MIT
"""One test of a gate once more: the command that asks for it, and the check of its name."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.host.project import ROOT


def check_tests(tests: Sequence[str]) -> None:
    """Raises `UserError` for a name that can be none of a test."""
    for test in tests:
        file, _, name = test.partition("::")
        if not name or not (ROOT / file).is_file():
            raise UserError(
                f"--test {test}: no test is called so; expected tests/cma/test_FILE.py::NAME, as"
                " reports have it"
            )


def command_again(words: Sequence[object], given: Sequence[tuple[str, object]], to: Path) -> str:
    """The command that judges the same patches, without its choice of tests. `words` are its
    arguments, `given` its options, of which those that are false were not given; what came from the
    standard input is kept below `to`.
    """
    told = ["harness", "gate"]
    for option, value in given:
        if value:
            told += [option] if value is True else [option, str(value)]
    kept = str(to / "patches" / "0001.patch")
    return shlex.join([*told, *(kept if str(word) == "-" else str(word) for word in words)])
