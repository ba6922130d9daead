# SPDX-License-Identifier: MIT
"""The judgement: an allocation lies wholly in the expected CMA area, and in no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.memory.errors import (
    MisplacedAllocation,
    OutsideAreas,
    OutsideRam,
    PartlyOutside,
    StraddlesAreas,
    WrongArea,
)
from harness.memory.memorymap import MemoryMap
from harness.memory.model import CmaArea
from harness.memory.ranges import AddressRange, human_size, merged


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """An allocation that is where it should be."""

    allocation: AddressRange
    area: CmaArea

    @property
    def offset(self) -> int:
        """Bytes from the start of the area to the start of the allocation."""
        return self.allocation.start - self.area.range.start

    def __str__(self) -> str:
        return f"{self.area.name} {self.area.range} holds {self.allocation}"


def judge(allocation: AddressRange, area_name: str, memory_map: MemoryMap) -> Placement:
    """Where the allocation lies, if that is wholly in area ``area_name`` and in no other.

    Raises `WrongArea`, `StraddlesAreas`, `PartlyOutside`, `OutsideAreas` or `OutsideRam` (all of
    them `MisplacedAllocation`, with the facts in fields) where it is not; `AreaNotCreated` or
    `CannotPlace` where the map does not have the area exactly.
    """
    expected = memory_map.area(area_name)
    found = memory_map.overlapping(allocation)
    if found == (expected,) and allocation in expected.range:
        return Placement(allocation, expected)
    kind, where = _describe(allocation, found, memory_map)
    raise kind(
        f"{allocation} {where}, expected {expected}, {_distance(allocation, expected)}",
        allocation=allocation,
        expected=expected,
        found=found,
        distance=allocation.shift_into(expected.range),
    )


def _distance(allocation: AddressRange, expected: CmaArea) -> str:
    if allocation.size > expected.range.size:
        return f"which is smaller ({human_size(expected.range.size)})"
    if allocation in expected.range:
        return "which is not the only one there"
    return allocation.distance_text(expected.range)


def _describe(
    allocation: AddressRange, found: Sequence[CmaArea], memory_map: MemoryMap
) -> tuple[type[MisplacedAllocation], str]:
    """The kind of error, and in words where the allocation lies."""
    if len(found) > 1:
        return StraddlesAreas, f"straddles {_shares(allocation, found)}"
    if found:
        (area,) = found
        if allocation in area.range:
            return WrongArea, f"is in {_shown(area)}"
        rest = " and ".join(map(str, allocation.without(area.range)))
        return PartlyOutside, f"is only partly in {_shares(allocation, found)}: {rest} is outside"
    banks = merged(memory_map.ram)
    if not banks:
        return OutsideAreas, "is in no CMA area (nobody said where RAM is)"
    if any(allocation in bank for bank in banks):
        parts = [part for part in memory_map.kernel if part.range.overlaps(allocation)]
        inside = "".join(f", over {part.name} ({part.range})" for part in parts)
        return OutsideAreas, f"is in System RAM but in no CMA area{inside}"
    ram = " and ".join(map(str, banks))
    if any(allocation.overlaps(bank) for bank in banks):
        return OutsideRam, f"is only partly in RAM ({ram}) and in no CMA area"
    return OutsideRam, f"is outside RAM ({ram})"


def _shown(area: CmaArea) -> str:
    return str(area) if area.exact else f"{area.name} (at least {area.range})"


def _shares(allocation: AddressRange, found: Sequence[CmaArea]) -> str:
    """Each area with how much of the allocation it has."""
    parts = []
    for area in found:
        shared = allocation.intersection(area.range)
        size = human_size(shared.size) if shared else "nothing"
        parts.append(f"{_shown(area)} with {size}")
    return " and ".join(parts)
