# SPDX-License-Identifier: MIT
"""What witnesses say of CMA areas, as values.

A witness that a kernel cannot offer is `Absent`, never an empty `Reading`. A claim says no more
than its witness did: a base with a rounded size stays that, and is not made into a range here.
"""

from __future__ import annotations

import dataclasses
import enum

from harness.memory.ranges import AddressRange, human_size

MAX_NAME = 63
"""The kernel keeps this much of an area's name (CMA_MAX_NAME - 1 in include/linux/cma.h)."""
_ALIGNMENTS = tuple(1 << shift for shift in range(12, 31))
"""CMA alignments that are taken for possible: powers of two from a page of 4 KiB to 1 GiB."""


@dataclasses.dataclass(frozen=True, slots=True)
class RoundedSize:
    """A size that the kernel printed in whole units, rounded down: 4.5 MiB as ``4 MiB``."""

    quantity: int
    unit: int

    @property
    def low(self) -> int:
        """The least size in bytes that is printed so."""
        return self.quantity * self.unit

    @property
    def high(self) -> int:
        """The least size in bytes that is printed as more (exclusive)."""
        return (self.quantity + 1) * self.unit

    def admits(self, size: int) -> bool:
        """Whether an area of ``size`` bytes is printed so."""
        return self.low <= size < self.high

    def __str__(self) -> str:
        unit = human_size(self.unit).split()[1]
        return f"{self.quantity} {unit} (rounded down)"


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """The witness gives the exact range."""

    name: str
    range: AddressRange
    source: str

    def __str__(self) -> str:
        return str(self.range)


@dataclasses.dataclass(frozen=True, slots=True)
class Windowed:
    """The witness gives a size and where the area may be. No windows: anywhere in RAM.

    The size is exact, or with ``rounds_up`` what was asked for: the kernel makes it a multiple of
    its alignment, which is not known here.
    """

    name: str
    size: int
    windows: tuple[AddressRange, ...]
    source: str
    rounds_up: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in bytes that the area may have, the smallest first."""
        if not self.rounds_up:
            return (self.size,)
        return tuple(sorted({-(-self.size // unit) * unit for unit in _ALIGNMENTS}))

    @property
    def pinned(self) -> AddressRange | None:
        """The only range possible, where there is one window that is just as large as the area."""
        if not self.rounds_up and len(self.windows) == 1 and self.windows[0].size == self.size:
            return self.windows[0]
        return None

    def admits(self, place: AddressRange) -> bool:
        """Whether ``place`` is inside one of the windows."""
        return not self.windows or any(place in window for window in self.windows)

    def __str__(self) -> str:
        where = " or ".join(map(str, self.windows)) or "anywhere"
        rounded = " or, rounded up, more" if self.rounds_up else ""
        return f"{human_size(self.size)}{rounded} in {where}"


@dataclasses.dataclass(frozen=True, slots=True)
class Based:
    """The witness gives the exact base and a rounded size (the kernel log)."""

    name: str
    base: int
    size: RoundedSize
    source: str

    def __str__(self) -> str:
        return f"0x{self.base:08x}, {self.size}"


@dataclasses.dataclass(frozen=True, slots=True)
class Exists:
    """The witness knows that the area exists, and possibly its size in bytes, but not where."""

    name: str
    source: str
    size: int | None = None

    def __str__(self) -> str:
        return "that it exists" if self.size is None else f"{human_size(self.size)}, no address"


Claim = Placed | Windowed | Based | Exists


@dataclasses.dataclass(frozen=True, slots=True)
class NamedRange:
    """A named part of the physical memory that is no CMA area, such as ``Kernel code``."""

    name: str
    range: AddressRange


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a witness says that an area was not set up; ``area`` is None where it names none.

    ``default_node``: it is the area whose node has ``linux,cma-default``. ``decisive``: an area of
    which it speaks was not set up; otherwise it may have been.
    """

    area: str | None
    text: str
    source: str
    default_node: bool = False
    decisive: bool = True


class Coverage(enum.Enum):
    """What it means when a witness does not mention an area."""

    DECLARED = "declared"
    """It says what was asked of the kernel (device tree, command line), not what became of it."""
    SOME = "some"
    """It observes the running kernel, but may miss areas: nothing follows from silence."""
    CREATED = "created"
    """The kernel log from the boot on: an area not mentioned was not created."""
    ALL = "all"
    """It lists every area of the running kernel: an area not listed is a contradiction."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """All that one witness said. ``ram`` and ``kernel`` are empty where it says nothing of them.

    ``default_areas`` are those whose node has ``linux,cma-default``, where the witness knows them.
    """

    witness: str
    source: str
    coverage: Coverage
    claims: tuple[Claim, ...] = ()
    ram: tuple[AddressRange, ...] = ()
    kernel: tuple[NamedRange, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    default_areas: tuple[str, ...] = ()

    @property
    def observes(self) -> bool:
        """Whether it speaks of the running kernel, not only of what was asked of it."""
        return self.coverage is not Coverage.DECLARED


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
    """A witness that this kernel, or this reader, cannot offer; and why."""

    witness: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class CmaArea:
    """A CMA area of the running kernel.

    ``witnesses`` are the sources that agree on it. ``exact`` is False where only a rounded size is
    known: ``range`` is then the least that the area covers.
    """

    name: str
    range: AddressRange
    witnesses: tuple[str, ...] = ()
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.range})"
