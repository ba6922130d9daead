# SPDX-License-Identifier: MIT
"""What a layout says: areas as device tree nodes, RAM, and the kernel's command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from harness.memory.ranges import AddressRange

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Area:
    """One node below ``/reserved-memory``. Sizes and addresses are in bytes, ranges half-open."""

    name: str
    size: int = 8 * MIB
    windows: tuple[AddressRange, ...] = ()
    """``alloc-ranges``; none: anywhere."""
    at: int | None = None
    """Base of a static ``reg``; None: the kernel places the area."""
    more: tuple[AddressRange, ...] = ()
    """Further tuples of ``reg``."""
    alignment: int | None = None
    alignment_cells: int = 1
    default: bool = False
    """``linux,cma-default``."""
    reusable: bool = True
    enabled: bool = True
    compatible: str = "shared-dma-pool"
    """Empty: the property is left out, and the node is no CMA area at all."""
    malformed: str = ""
    """The property that has a cell too many: ``size``, ``reg``, ``alloc-ranges``."""
    mapped: bool = True
    """False: ``no-map``, which memory that is reusable cannot be."""


@dataclasses.dataclass(frozen=True)
class KnownFailure:
    """A kernel that is wrong here. The suite says so, and notices when it is no more."""

    since: tuple[int, int]
    """The first version that is known to be so, by the kernel's own ``VERSION``."""
    cause: str
    until: tuple[int, int] | None = None
    """The first version that is right again; None: none is known."""
    dies: bool = True
    """False: it lives, and says something untrue."""
    warns: bool = False
    """It lives, but says so with a backtrace: whichever is noticed first is the failure."""

    needs: str = ""
    """The feature without which it does not show; empty: none."""

    def holds(self, version: tuple[int, int], features: Collection[str] = ()) -> bool:
        """Whether a kernel `version` with these features is one of those."""
        there = self.since <= version and (self.until is None or version < self.until)
        return there and (not self.needs or self.needs in features)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A row of the table: what is booted."""

    name: str
    about: str
    """What it is for; a commit of Linux where it repeats a regression."""
    areas: tuple[Area, ...]
    memory_mib: int = 512
    append: str = ""
    """Words for the kernel's command line: ``cma=``, ``vmalloc=``."""
    variant: str = ""
    """Kernel configuration variant (``images/kernel/config/variants/NAME.config``)."""
    known: tuple[KnownFailure, ...] = ()


def window(start: int, size: int) -> tuple[AddressRange, ...]:
    """One window of `size` bytes."""
    return (AddressRange.from_size(start, size),)
