# SPDX-License-Identifier: MIT
"""What tests have workers do; who collects tests does not wait for Dask to be imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.builders.cache import BuildDirectory, Cache, Key

if TYPE_CHECKING:
    from harness.engine.worker import Built

KEY = Key("thing", {"source": "1"})


def build(log: str) -> Built:
    """Makes a small entry in this worker's cache, and notes that it did."""
    from distributed import get_worker

    from harness.engine.worker import Built

    def make(build_dir: BuildDirectory) -> None:
        (build_dir.out / "file").write_text("content" * 1000)
        with Path(log).open("a") as file:
            file.write(f"{get_worker().name}\n")

    Cache().entry(KEY, make)
    keys: tuple[tuple[str, Mapping[str, str]], ...] = ((KEY.name, dict(KEY.inputs)),)
    return Built(keys, get_worker().address, str(get_worker().name))


def take(built: Built) -> str:
    """Takes it over into this worker's cache; what it holds there."""
    from harness.engine.worker import _here, take_over

    own, plugin, _ = _here()
    take_over(own, plugin, built)
    return (Cache().root / "entries" / KEY.slug / "file").read_text()


def damage() -> None:
    """Writes over a file of this worker's entry: its size and time stay."""
    path = Cache().root / "entries" / KEY.slug / "file"
    path.write_text("CONTENT" * 1000)


def fill_disk() -> None:
    """Has this worker find no room from now on."""
    from harness.engine import worker

    worker.ROOM = 1 << 62
