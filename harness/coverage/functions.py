# SPDX-License-Identifier: MIT
"""Which functions of the whole kernel, and of the driver, each test executed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.coverage.lines import packed, unpacked
from harness.errors import UserError
from harness.host.files import write_text

SCHEMA = 1
FUNCTIONS = "functions.json"
"""The file in the directory of a run, beside the record of lines."""


@dataclasses.dataclass(frozen=True)
class FunctionMap:
    """The functions of one run, as `harness.imageset.symtab` names them."""

    boot: frozenset[str]
    """What the boots executed, up to the first answer, before they were cloned."""
    tests: Mapping[str, frozenset[str]]
    """What each test executed after that, or in boots of its own; by pytest's name of the test."""

    def tests_of(self, functions: Collection[str]) -> list[str]:
        """The tests that executed any of these functions, the most specific first: those that
        executed fewest in all.
        """
        wanted = frozenset(functions)
        found = [name for name, executed in self.tests.items() if executed & wanted]
        return sorted(found, key=lambda name: (len(self.tests[name]), name))

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all. Functions are numbers there."""
        names = sorted({name for part in (self.boot, *self.tests.values()) for name in part})
        numbers = {name: number for number, name in enumerate(names)}
        parts = {name: frozenset(map(numbers.__getitem__, part)) for name, part in self._parts()}
        ranges = packed({name: part for name, part in parts.items() if part})
        content = {"schema": SCHEMA, "functions": names, "none": self._none(), "tests": ranges}
        write_text(path, json.dumps(content) + "\n")

    def _none(self) -> list[str]:
        """The tests that executed nothing of it."""
        return sorted(test for test, part in self.tests.items() if not part)

    def _parts(self) -> list[tuple[str, frozenset[str]]]:
        # No test has an empty name: that is the boot's.
        return [("", self.boot), *self.tests.items()]


def read(path: Path) -> FunctionMap:
    """What `FunctionMap.write` wrote. Raises `UserError` for anything else."""
    try:
        content: Any = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        names = content["functions"]
        parts = {
            test: frozenset(names[number] for number in numbers)
            for test, numbers in unpacked(content["tests"]).items()
        }
        parts |= dict.fromkeys(content["none"], frozenset())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is no map of functions: {error}") from error
    return FunctionMap(
        parts.pop("", frozenset()), {test: part for test, part in parts.items() if test}
    )
