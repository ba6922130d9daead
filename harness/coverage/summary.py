# SPDX-License-Identifier: MIT
"""What a record says, by file and function."""

from __future__ import annotations

import dataclasses

from harness.coverage.lines import packed
from harness.coverage.record import CoverageRecord


@dataclasses.dataclass(frozen=True)
class FunctionSummary:
    """One function of the source."""

    name: str
    line: int
    code: int
    """Lines with instructions."""
    tested: int
    """Of these, executed by a test."""
    boot_only: tuple[int, ...]
    never: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class FileSummary:
    """One file."""

    file: str
    functions: tuple[FunctionSummary, ...]

    @property
    def code(self) -> int:
        """Lines with instructions."""
        return sum(function.code for function in self.functions)

    @property
    def tested(self) -> int:
        """Of these, executed by a test."""
        return sum(function.tested for function in self.functions)

    @property
    def executed(self) -> int:
        """Executed by a test or the boot."""
        return self.tested + sum(len(function.boot_only) for function in self.functions)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "file": self.file,
            "code": self.code,
            "tested": self.tested,
            "executed": self.executed,
            "functions": [dataclasses.asdict(function) for function in self.functions],
        }


def of(record: CoverageRecord, only: str | None = None) -> list[FileSummary]:
    """Every file of a record, or `only` one, with its functions in the order of the source."""
    tested, never = record.tested, record.never()
    found = []
    for file, code in record.code.items():
        if only is not None and file != only:
            continue
        groups: dict[str, set[int]] = {}
        for line in sorted(code):
            groups.setdefault(record.function_of(file, line), set()).add(line)
        done, missing = tested.get(file, frozenset()), never.get(file, frozenset())
        functions = tuple(
            FunctionSummary(
                name,
                min(lines),
                len(lines),
                len(lines & done),
                tuple(sorted(lines - done - missing)),
                tuple(sorted(lines & missing)),
            )
            for name, lines in groups.items()
        )
        found.append(FileSummary(file, functions))
    return found


def text(files: list[FileSummary]) -> str:
    """A line a file, and below it one for each function with lines that no test executes."""
    out = []
    for item in files:
        percent = 100 * item.executed / item.code if item.code else 100.0
        out.append(
            f"{item.file}: {item.tested} of {item.code} lines by tests,"
            f" {item.executed} with the boot ({percent:.1f} %)"
        )
        for function in item.functions:
            parts = []
            if function.never:
                parts.append(f"never {_ranges(function.never)}")
            if function.boot_only:
                parts.append(f"at boot only {_ranges(function.boot_only)}")
            if parts:
                out.append(f"  {function.name or '(outside functions)'}: {'; '.join(parts)}")
    return "\n".join(out) + "\n"


def _ranges(lines: tuple[int, ...]) -> str:
    return packed({"": frozenset(lines)})[""]
