# SPDX-License-Identifier: MIT
"""Reads the matrix, ``nightly.toml``, and expands it into jobs. Its errors say file, key and what
to do.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.board import RAM_MIB
from harness.builders.imageset import VERSIONS
from harness.builders.kernel_source import variants as kernel_variants
from harness.errors import UserError
from harness.host import project
from harness.mutants import patchfile
from harness.nightly.job import GROUPS, OF_A_CHECKOUT, OWN_MEMORY, Job, JobKind

MINUTES = {JobKind.TESTS: 60, JobKind.MEASURE: 10, JobKind.MUTANTS: 300, JobKind.EXPLORE: 10}
"""What a job gets unless the matrix says otherwise."""
SPARE_MINUTES = 30
"""For an exploration's build, boot and shrinking, beside the time in which it looks."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class MatrixTable:
    """One table of the file, whose keys are checked as they are read."""

    def __init__(self, file: Path, where: str, values: dict[str, Any]) -> None:
        self._file = file
        self._where = where
        self._values = values
        self._known: set[str] = set()

    def fail(self, key: str, text: str) -> NoReturn:
        """Raises `UserError` that names file, table and key."""
        raise UserError(f"{self._file}:{self._where}.{key}: {text}")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        self._known.add(key)
        return key in self._values

    def words(self, key: str, allowed: Sequence[str]) -> list[str]:
        """A list of some of the `allowed` words."""
        found = self._list(key)
        for word in found:
            if word not in allowed:
                self.fail(key, f"{word!r} is unknown; take {_or(allowed)}")
        return found

    def numbers(self, key: str, allowed: range, what: str) -> list[int]:
        """A list of numbers, each in `allowed`."""
        found = self._list(key)
        for number in found:
            if type(number) is not int or number not in allowed:
                self.fail(key, f"{number!r} is no {what} from {allowed[0]} to {allowed[-1]}")
        return found

    def strings(self, key: str) -> list[str]:
        """A list of strings; empty where the key is not there."""
        if not self.has(key):
            return []
        found = self._list(key)
        if not all(isinstance(word, str) and word for word in found):
            self.fail(key, "expected a list of strings")
        return found

    def number(self, key: str, default: int) -> int:
        """A number, 1 or more."""
        value = self._values[key] if self.has(key) else default
        if type(value) is not int or value < 1:
            self.fail(key, f"{value!r} is no number, 1 or more")
        return value

    def text(self, key: str) -> str:
        """A string; empty where the key is not there."""
        value = self._values[key] if self.has(key) else ""
        if not isinstance(value, str) or (key in self._values and not value.strip()):
            self.fail(key, f"{value!r} is no text; leave the key out instead")
        return value

    def name(self) -> str:
        """The key ``name``, a word that can be part of a job's name."""
        value = self.text("name")
        if value and not _NAME.fullmatch(value):
            self.fail("name", f"{value!r}: take letters, digits, '.', '_' and '-'")
        return value

    def end(self) -> None:
        """Raises `UserError` for an unknown key."""
        for key in self._values:
            if key not in self._known:
                self.fail(key, f"unknown; take {_or(sorted(self._known))}")

    def _list(self, key: str) -> list[Any]:
        if not self.has(key):
            self.fail(key, "is missing")
        value = self._values[key]
        if not isinstance(value, list):
            self.fail(key, f"expected a list: {key} = [{value!r}]".replace("'", '"'))
        if not value:
            self.fail(key, "is empty: name at least one, or remove the table")
        if len({repr(item) for item in value}) != len(value):
            self.fail(key, "one is there twice")
        return value


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def read_matrix(path: Path) -> list[Job]:
    """All jobs in the file's order. Raises `UserError`."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is no TOML: {error}") from error
    for key, value in content.items():
        if key not in _TABLES:
            known = _or([f"[[{name}]]" for name in _TABLES])
            raise UserError(f"{path}:{key}: unknown; take {known}")
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise UserError(f"{path}:{key}: expected tables: write [[{key}]]")
    jobs: dict[str, Job] = {}
    for key, expand in _TABLES.items():
        for number, values in enumerate(content.get(key, []), 1):
            table = MatrixTable(path, f"{key}[{number}]", values)
            for job in expand(table):
                if job.name in jobs:
                    table.fail("name", f"there are two jobs {job.name}: give this table a name")
                jobs[job.name] = job
    if not jobs:
        raise UserError(f"{path}: is an empty matrix: add a [[run]] table")
    return list(jobs.values())


def _measure(table: MatrixTable) -> Iterator[Job]:
    kernels, memory = table.words("kernels", VERSIONS), _memory(table)
    timeout = _timeout(table, JobKind.MEASURE)
    table.end()
    for kernel in kernels:
        for mib in memory:
            yield Job(_join(kernel, mib, "measure"), JobKind.MEASURE, kernel, timeout, mib)


def _run(table: MatrixTable) -> Iterator[Job]:
    kernels, groups = table.words("kernels", VERSIONS), table.words("tests", list(GROUPS))
    memory, expression, name = _memory(table), table.text("expression"), table.name()
    variants = table.words("variants", kernel_variants()) if table.has("variants") else [""]
    timeout = _timeout(table, JobKind.TESTS)
    table.end()
    if project.INSTALLED:
        groups = [group for group in groups if group not in OF_A_CHECKOUT]
    own = [group for group in groups if group in OWN_MEMORY]
    if own and memory != [None]:
        table.fail("memory", f"the tests of {own[0]} say their RAM themselves: leave the key out")
    for kernel, variant, mib, group in itertools.product(kernels, variants, memory, groups):
        job_name = _join(kernel, mib, variant, group, name)
        yield Job(job_name, JobKind.TESTS, kernel, timeout, mib, group, expression, variant=variant)


def _explore(table: MatrixTable) -> Iterator[Job]:
    kernels, minutes = table.words("kernels", VERSIONS), table.number("minutes", 10)
    variants = table.words("variants", kernel_variants()) if table.has("variants") else [""]
    table.end()
    for kernel, variant in itertools.product(kernels, variants):
        timeout = 60.0 * (minutes + SPARE_MINUTES)
        name = _join(kernel, None, variant, "explore")
        yield Job(name, JobKind.EXPLORE, kernel, timeout, variant=variant, minutes=minutes)


def _mutants(table: MatrixTable) -> Iterator[Job]:
    kernels, only, name = table.words("kernels", VERSIONS), table.strings("only"), table.name()
    sample = table.number("sample", 1) if table.has("sample") else None
    parts = table.number("parts", 1)
    timeout = _timeout(table, JobKind.MUTANTS)
    table.end()
    try:
        count = len(patchfile.select(patchfile.read_all(), only, sample=sample))
    except UserError as error:
        table.fail("only", str(error))
    if parts > count:
        table.fail("parts", f"there are only {count} mutants to share out")
    for kernel in kernels:
        for part in range(1, parts + 1):
            said = f"{part}of{parts}" if parts > 1 else ""
            job_name = _join(kernel, None, "mutants", name, said)
            yield Job(
                job_name,
                JobKind.MUTANTS,
                kernel,
                timeout,
                only=tuple(only),
                sample=sample,
                part=(part, parts),
            )


def _memory(table: MatrixTable) -> Sequence[int | None]:
    return table.numbers("memory", RAM_MIB, "number of MiB") if table.has("memory") else [None]


def _timeout(table: MatrixTable, kind: JobKind) -> float:
    return 60.0 * table.number("timeout_minutes", MINUTES[kind])


def _join(kernel: str, mib: int | None, *words: str) -> str:
    memory = f"{mib}M" if mib is not None else ""
    return "/".join(word for word in (kernel, memory, *words) if word)


# Measurements come first: nothing else runs then, and what they find is there even if the night is
# ended early.
_TABLES: dict[str, Callable[[MatrixTable], Iterator[Job]]] = {
    "measure": _measure,
    "run": _run,
    "explore": _explore,
    "mutants": _mutants,
}
