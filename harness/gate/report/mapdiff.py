# SPDX-License-Identifier: MIT
"""How each area of the memory map differs between base and patched system."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence

from harness.gate.result import Area, GateResult
from harness.memory.ranges import AddressRange, human_size


class Fate(enum.Enum):
    """How an area of the base differs from the patched system's."""

    SAME = "unchanged"
    MOVED = "moved"
    RESIZED = "resized"
    MOVED_AND_RESIZED = "moved and resized"
    NEW = "new"
    MISSING = "missing"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One area in both maps; at least one of the two ranges is there."""

    name: str
    cma: bool
    before: AddressRange | None
    after: AddressRange | None

    @property
    def fate(self) -> Fate:
        """How the area differs, in one word."""
        if self.before is None:
            return Fate.NEW
        if self.after is None:
            return Fate.MISSING
        resized = self.before.size != self.after.size
        # An area that grew or shrank at one end has not moved.
        if self.before.start != self.after.start and self.before.end != self.after.end:
            return Fate.MOVED_AND_RESIZED if resized else Fate.MOVED
        return Fate.RESIZED if resized else Fate.SAME

    @property
    def text(self) -> str:
        """``moved 8 MiB up``, ``resized by -4 MiB``, ``new``."""
        words = self.fate.value
        if self.before is None or self.after is None:
            return words
        if self.fate in (Fate.MOVED, Fate.MOVED_AND_RESIZED):
            shift = self.after.start - self.before.start
            words += f" {human_size(abs(shift))} {'up' if shift > 0 else 'down'}"
        grown = self.after.size - self.before.size
        if grown:
            words += f"{',' if ' ' in words else ' by'} {'+-'[grown < 0]}{human_size(abs(grown))}"
        return words

    @property
    def key(self) -> tuple[int, str]:
        """Where it is in a list: by address in the base, or its only one."""
        place = self.before or self.after
        return (place.start if place else 0, self.name)


def differences(result: GateResult) -> tuple[Difference, ...]:
    """Every area, in address order; nothing where one of the two maps is not known.

    Areas belong together by name, and a CMA area to no other kind: one that is plain reserved
    memory in the patched system is missing, not unchanged.
    """
    if not result.map_before or not result.map_after:
        return ()
    before, after = _grouped(result.map_before), _grouped(result.map_after)
    found: list[Difference] = []
    for name, cma in {**before, **after}:
        pairs = _paired(before.get((name, cma), []), after.get((name, cma), []))
        found += [Difference(name, cma, old, new) for old, new in pairs]
    return tuple(sorted(found, key=lambda difference: difference.key))


def changed(result: GateResult) -> tuple[Difference, ...]:
    """Those of `differences` that are not the same."""
    return tuple(item for item in differences(result) if item.fate is not Fate.SAME)


def _grouped(areas: Iterable[Area]) -> dict[tuple[str, bool], list[AddressRange]]:
    groups: dict[tuple[str, bool], list[AddressRange]] = {}
    for area in sorted(areas, key=lambda area: area.span):
        groups.setdefault((area.name, area.cma), []).append(area.span)
    return groups


def _paired(
    before: Sequence[AddressRange], after: Sequence[AddressRange]
) -> list[tuple[AddressRange | None, AddressRange | None]]:
    """Equal ranges first, the rest in address order."""
    new = list(after)
    old = []
    pairs: list[tuple[AddressRange | None, AddressRange | None]] = []
    for span in before:
        if span in new:
            new.remove(span)
            pairs.append((span, span))
        else:
            old.append(span)
    both = min(len(old), len(new))
    pairs += zip(old[:both], new[:both], strict=True)
    pairs += [(span, None) for span in old[both:]]
    return pairs + [(None, span) for span in new[both:]]
