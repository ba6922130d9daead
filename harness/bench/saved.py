# SPDX-License-Identifier: MIT
"""From a saved line of ``mm/cma.c`` to a verdict: ``harness watch``, and make and a boot by hand.

Both build the same clone of a kernel's git tree, each in a place of its own that stays warm.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.builders.cache import cache_root
from harness.builders.kernel import make_words
from harness.errors import HarnessError, UserError
from harness.host.process import kill_group
from harness.host.project import IMAGES
from harness.testrun.suite import start

FILE = "mm/cma.c"
ZIMAGE = "obj/arch/arm/boot/zImage"
_PLACE = re.compile(r'^\tpr_debug\("%s\(cma', re.MULTILINE)
"""In functions that allocate and release."""
_VERDICT = re.compile(r"run (\d+): ([A-Z ]+) in [0-9.]+ s")


@contextlib.contextmanager
def clone(tree: Path) -> Iterator[Path]:
    """A clone of the user's tree to work on; his own is only read. Raises `UserError`."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_root()) as directory:
        to = Path(directory) / "linux"
        argv = ["git", "clone", "--quiet", "--shared", str(tree.absolute()), str(to)]
        made = subprocess.run(argv, capture_output=True, text=True, check=False)
        if made.returncode or not (to / FILE).is_file():
            raise UserError(f"{tree} is no git tree of Linux: {made.stderr.strip() or FILE}")
        yield to


class Editor:
    """Saves a line that makes other code, and no difference, in each round another one."""

    def __init__(self, tree: Path) -> None:
        self._file = tree / FILE
        self._text = self._file.read_text()
        self._round = 0

    def save(self) -> None:
        """Saves the file."""
        self._round += 1
        line = f'\tasm volatile("{"nop;" * self._round}");\n'
        self._file.write_text(_PLACE.sub(lambda match: line + match[0], self._text, count=1))


@contextlib.contextmanager
def watching(tree: Path, output: Path) -> Iterator[Callable[[Callable[[], None]], float]]:
    """``harness watch`` on `tree`; yields a function that calls another, which saves a file, and
    gives the seconds until the verdict of that. Raises `HarnessError` where it is not ``PASS``.
    """
    argv = [sys.executable, "-m", "harness", "watch", "--output", str(output), str(tree)]
    reading, writing = os.pipe()
    with os.fdopen(reading) as lines:
        with os.fdopen(writing, "wb") as to:
            process = start(argv, to)
        try:
            _await(lines, "NOTHING TO JUDGE")

            def timed(save: Callable[[], None]) -> float:
                begun = time.perf_counter()
                save()
                _await(lines, "PASS")
                return time.perf_counter() - begun

            yield timed
        finally:
            kill_group(process)


def _await(lines: Iterable[str], wanted: str) -> None:
    said = []
    for line in lines:
        said.append(line)
        if match := _VERDICT.match(line):
            if match[2] != wanted:
                break
            return
    raise HarnessError("harness watch says otherwise:\n" + "".join(said[-20:]))


def configure(tree: Path) -> None:
    """Our configuration for the peers' build."""
    words = make_words(tree)
    _make([*words, "vexpress_defconfig"])
    with (tree / "obj" / ".config").open("a") as config:
        config.write((IMAGES / "kernel" / "config" / "base.config").read_text())
    _make([*words, "olddefconfig", "zImage"])


def by_hand(tree: Path, save: Callable[[], None], boot: Callable[[], Any]) -> float:
    """Seconds of a save, of make, and of what `boot` does."""
    begun = time.perf_counter()
    save()
    _make([*make_words(tree), "zImage"])
    boot()
    return time.perf_counter() - begun


def _make(argv: list[str]) -> None:
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    if made.returncode:
        raise HarnessError(f"make failed in the bench's tree:\n{made.stderr[-2000:]}")
