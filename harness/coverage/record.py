# SPDX-License-Identifier: MIT
"""The record of one run: code, what the boot executed, and what each test executed after it."""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.coverage.lines import Lines, frozen, packed, union, unpacked
from harness.errors import UserError
from harness.host.files import write_text
from harness.imageset.linetable import LineTable, SourceFunction

SCHEMA = 1
RECORD = "coverage.json"
"""The record's file in the directory of a run."""


@dataclasses.dataclass(frozen=True)
class CoverageRecord:
    """What was executed of the files of interest."""

    code: Lines
    """The lines that have instructions."""
    functions: tuple[SourceFunction, ...]
    """The functions of the source, inlined ones too."""
    boot: Lines
    """What the boot executed, up to the first answer."""
    tests: Mapping[str, Lines]
    """What each test executed after that, or in boots of its own; by pytest's name of the test."""
    kernel: str = ""
    """``uname -r`` of the kernel."""

    @property
    def tested(self) -> dict[str, frozenset[int]]:
        """What any test executed."""
        return union(*self.tests.values())

    def tests_of(self, file: str, line: int) -> list[str]:
        """The tests that executed a line, the most specific first: those that executed least."""
        found = [name for name, lines in self.tests.items() if line in lines.get(file, ())]
        return sorted(found, key=lambda name: (self.size(name), name))

    def size(self, test: str) -> int:
        """How many lines a test executed."""
        return sum(map(len, self.tests[test].values()))

    def function_of(self, file: str, line: int) -> str:
        """The function that a line is in; empty for none."""
        return LineTable((), self.functions).function_of(file, line)

    def lines_around(self, file: str, line: int) -> frozenset[int]:
        """The lines with instructions of the function that a line is in."""
        starts = sorted(f.line for f in self.functions if f.file == file)
        index = bisect.bisect_right(starts, line)
        start = starts[index - 1] if index else 0
        end = starts[index] if index < len(starts) else 1 << 30
        return frozenset(n for n in self.code.get(file, ()) if start <= n < end)

    def never(self) -> dict[str, frozenset[int]]:
        """The lines that neither the boot nor a test executed."""
        done = union(self.boot, self.tested)
        return frozen(
            {file: lines - done.get(file, frozenset()) for file, lines in self.code.items()}
        )

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all."""
        content = {
            "schema": SCHEMA,
            "kernel": self.kernel,
            "code": packed(self.code),
            "functions": [[f.file, f.line, f.name] for f in self.functions],
            "boot": packed(self.boot),
            "tests": {name: packed(lines) for name, lines in sorted(self.tests.items())},
        }
        write_text(path, json.dumps(content, indent=1) + "\n")


def read(path: Path) -> CoverageRecord:
    """What `CoverageRecord.write` wrote. Raises `UserError` for anything else."""
    try:
        content: Any = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        return CoverageRecord(
            unpacked(content["code"]),
            tuple(sorted(SourceFunction(*words) for words in content["functions"])),
            unpacked(content["boot"]),
            {name: unpacked(lines) for name, lines in content["tests"].items()},
            str(content["kernel"]),
        )
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; pytest --qemu --qemu-coverage writes it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no record of coverage: {error}") from error


def merged(records: Sequence[CoverageRecord]) -> CoverageRecord:
    """Several runs of one kernel as one. Raises `ValueError` for none."""
    first, *others = records
    tests: dict[str, Lines] = dict(first.tests)
    for record in others:
        for name, lines in record.tests.items():
            tests[name] = union(tests[name], lines) if name in tests else lines
    return CoverageRecord(
        union(*(record.code for record in records)),
        tuple(sorted({function for record in records for function in record.functions})),
        union(*(record.boot for record in records)),
        tests,
        first.kernel,
    )
