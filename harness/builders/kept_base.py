# SPDX-License-Identifier: MIT
"""Kernels of commits that were built in a patch tree, so that the next run need not build them."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

MOST = 4
"""How many a tree keeps: the last ones that were used."""


@dataclasses.dataclass(frozen=True)
class KeptBase:
    """One of them, in ``DIRECTORY/NAME``, out of reach of what is built in the tree."""

    directory: Path
    name: str

    def take(self, to: Path) -> bool:
        """Copies its files into the directory `to`; False where it is not kept."""
        place = self.directory / self.name
        if not place.is_dir():
            return False
        for path in place.iterdir():
            shutil.copyfile(path, to / path.name)
        place.touch()
        return True

    def keep(self, made: Path) -> None:
        """Keeps the files of the directory `made`, and no more than `MOST` others."""
        new = self.directory / f".{self.name}.new"
        with contextlib.suppress(OSError):  # it is only slower next time
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700, parents=True)
            for path in made.iterdir():
                if path.is_file():
                    shutil.copyfile(path, new / path.name)
            new.rename(self.directory / self.name)
            old = sorted(self.directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for path in old[:-MOST]:
                shutil.rmtree(path, ignore_errors=True)
