# SPDX-License-Identifier: MIT
"""A mutant's file: header lines ``Name: value``, then a unified diff.

``Subject:`` what it breaks; ``Kind: mutant`` or ``harmless``; ``Caught-by:`` a pytest ``-k``
expression, mutants only; ``SPDX-License-Identifier:``; if need be ``Commit:`` (the regression of
history), ``Kernel:`` (the only versions that it applies to; ``7.3+`` is 7.3 and later) and
``Elsewhere:`` (why it cannot be on any other).

Paths are ``a/linux/…`` for the kernel with our additions, ``a/images/{module,app,dts}/…`` for the
rest.

A change that needs another diff on another kernel has several files: ``NAME.patch`` and
``NAME@7.3.patch``. They are one mutant.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import random
import re
from collections.abc import Sequence
from pathlib import Path

from harness.builders.diff import touched_files
from harness.errors import UserError
from harness.host.project import ROOT

MUTANTS = ROOT / "tests" / "mutants"
HEADERS = (
    *("Subject", "Kind", "Caught-by", "SPDX-License-Identifier"),
    *("Commit", "Kernel", "Elsewhere"),
)
KINDS = ("mutant", "harmless")
_HEADER = re.compile(r"^([A-Z][A-Za-z-]+):\s*(.*\S)\s*$")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of the system under test."""

    path: Path
    subject: str
    harmless: bool
    caught_by: str
    """pytest ``-k`` expression for the tests that must fail; empty for a harmless change."""
    kernels: tuple[str, ...]
    """Versions that it is for; empty for all."""
    files: tuple[str, ...]
    elsewhere: str = ""
    """Why it cannot be on the others; empty where it can, by a diff of its own."""

    @property
    def name(self) -> str:
        """Name of its file, without what stands behind an ``@``."""
        return self.path.stem.partition("@")[0]

    def fits(self, kernel: str) -> bool:
        """Whether it is for the kernel `kernel` (``6.1``)."""
        later = (name[:-1] for name in self.kernels if name.endswith("+"))
        return (
            not self.kernels
            or kernel in self.kernels
            or any(_number(kernel) >= _number(name) for name in later)
        )

    @property
    def of_kernel(self) -> bool:
        """Whether the kernel must be rebuilt."""
        return any(not path.startswith("images/") for path in self.files)


def read_mutant(path: Path) -> Mutant:
    """Reads and checks a file. Raises `UserError` that says what is wrong with it."""
    files = _touched(path.read_text(), str(path))
    headers: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(("--- ", "diff ")):
            break
        match = _HEADER.match(line)
        if line and not match:
            raise UserError(f"{path}:{number}: expected `Name: value`, or the diff")
        if match and (match[1] not in HEADERS or match[1] in headers):
            raise UserError(f"{path}:{number}: {match[1]} is unknown or there twice")
        if match:
            headers[match[1]] = match[2]
    kind = headers.get("Kind", "")
    wanted = {"Subject", "Kind", "SPDX-License-Identifier"}
    wanted |= {"Caught-by"} if kind == "mutant" else set()
    missing = sorted(wanted - headers.keys())
    if missing or kind not in KINDS:
        raise UserError(f"{path}: needs {', '.join(missing) or 'Kind: mutant or harmless'}")
    if kind == "harmless" and "Caught-by" in headers:
        raise UserError(f"{path}: a harmless change is caught by no test")
    return Mutant(
        path,
        headers["Subject"],
        kind == "harmless",
        headers.get("Caught-by", ""),
        tuple(headers.get("Kernel", "").replace(",", " ").split()),
        files,
        headers.get("Elsewhere", ""),
    )


@functools.cache
def _touched(text: str, name: str) -> tuple[str, ...]:
    """As `touched_files`, which starts git, once for each text: a run reads the mutants often."""
    return tuple(touched_files(text, name, trusted=True))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def read_all(directory: Path = MUTANTS, kernel: str = "") -> list[Mutant]:
    """All of them, by name; each as it is for `kernel` (``6.1``), or in its first form."""
    found: dict[str, Mutant] = {}
    for path in sorted(directory.glob("*.patch"), key=lambda path: path.stem.split("@")):
        mutant = read_mutant(path)
        if mutant.name not in found or (kernel and mutant.fits(kernel)):
            found[mutant.name] = mutant
    return list(found.values())


def select(
    mutants: Sequence[Mutant],
    only: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    sample: int | None = None,
    seed: int = 0,
) -> list[Mutant]:
    """Those that one of the patterns `only` names, of these a random `sample`, of these a shard.

    Each pattern must name one. Raises `UserError`. A shard ``(i, n)`` takes each n-th, from i.
    """
    for pattern in only:
        if not any(fnmatch.fnmatch(mutant.name, pattern) for mutant in mutants):
            raise UserError(f"no mutant is called {pattern}")
    found = [
        mutant
        for mutant in mutants
        if not only or any(fnmatch.fnmatch(mutant.name, pattern) for pattern in only)
    ]
    if sample is not None and sample < len(found):
        chosen = random.Random(seed).sample(range(len(found)), sample)
        found = [found[index] for index in sorted(chosen)]
    return found[shard[0] - 1 :: shard[1]]
