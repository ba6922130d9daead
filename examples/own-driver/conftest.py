# SPDX-License-Identifier: MIT
"""The driver and its application in a pristine guest, for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builders.own import Builds
from harness.guest.guest import Guest
from harness.machine.channel import CommandResult
from harness.memory.ranges import AddressRange

HERE = Path(__file__).parent
NAME = "ring"


class Ring:
    """The driver's memory, as the application gets it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._held = 0

    def run(self, *words: object, check: bool = True) -> CommandResult:
        """The application, to its end."""
        return self.guest.run(" ".join([f"/tmp/{NAME}", *map(str, words)]), check=check)

    def get(self, length: int) -> AddressRange:
        """Where the application got so many bytes, which it has given back since."""
        return place(self.run(length).text)

    @contextlib.contextmanager
    def hold(self, length: int, text: str = "") -> Iterator[AddressRange]:
        """An application that has so many bytes, with `text` in them, until the block ends."""
        self._held += 1
        out = f"/tmp/held-{self._held}"
        started = self.guest.run(
            f"/tmp/{NAME} --hold {length} {text} >{out} & echo $!;"
            f" until [ -s {out} ] || ! kill -0 $!; do usleep 2000; done; cat {out}"
        )
        pid, _, said = started.text.partition("\n")
        try:
            yield place(said)
        finally:
            self.guest.run(f"kill {pid}; wait {pid}", check=False)

    def used(self) -> int:
        """Bytes of the area that are allocated, by the kernel's own bitmap."""
        return sum(found.size for found in self.guest.allocated())


def place(said: str) -> AddressRange:
    """The range that the application printed."""
    start, length = (int(word, 16) for word in said.split())
    return AddressRange.from_size(start, length)


@pytest.fixture(scope="session")
def files(builds: Builds) -> dict[str, Path]:
    """The module and the application, built for the kernel under test."""
    return {f"{NAME}.ko": builds.module(HERE / "driver"), NAME: builds.program(HERE / NAME)}


@pytest.fixture
def ring(guest: Guest, files: dict[str, Path]) -> Ring:
    """The driver is loaded and the application is there."""
    for name, path in files.items():
        guest.put(path, f"/tmp/{name}", 0o755)
    guest.run(f"insmod /tmp/{NAME}.ko")
    return Ring(guest)
