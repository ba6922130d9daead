# SPDX-License-Identifier: MIT
"""Physical address ranges as values: half-open inside, printed inclusive as the kernel does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from harness.errors import HarnessError

_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


class InvalidRange(HarnessError, ValueError):
    """A range that is empty, negative or backwards."""

    def __init__(self, start: int, end: int, reason: str) -> None:
        super().__init__(f"[{start:#x}, {end:#x}) is no address range: {reason}")
        self.start, self.end, self.reason = start, end, reason


def human_size(size: int) -> str:
    """``size`` bytes in the largest binary unit that fits.

    A whole number is exact (``8 MiB``); anything else has as many decimals as it takes not to look
    whole (``7.9 MiB``, ``7.996 MiB``). Raises `ValueError` for a negative size.
    """
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    unit, scale = next((item for item in _UNITS if size >= item[1]), ("B", 1))
    if size % scale == 0:
        return f"{size // scale} {unit}"
    for decimals in range(1, 31):
        text = f"{size / scale:.{decimals}f}"
        if not text.endswith("0" * decimals):
            break
    return f"{text} {unit}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """Physical addresses ``start`` (inclusive) to ``end`` (exclusive), in bytes; never empty."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InvalidRange(self.start, self.end, "an address cannot be negative")
        if self.end == self.start:
            raise InvalidRange(self.start, self.end, "it is empty")
        if self.end < self.start:
            raise InvalidRange(self.start, self.end, "it ends before it starts")

    @classmethod
    def from_size(cls, start: int, size: int) -> AddressRange:
        """``size`` bytes from ``start``. Raises `InvalidRange` for a size of zero or less."""
        return cls(start, start + size)

    @classmethod
    def from_inclusive(cls, first: int, last: int) -> AddressRange:
        """From the first byte to the last one, both inside, as ``/proc/iomem`` prints them."""
        return cls(first, last + 1)

    @property
    def size(self) -> int:
        """Bytes; at least 1."""
        return self.end - self.start

    @property
    def last(self) -> int:
        """The last address inside."""
        return self.end - 1

    def __contains__(self, item: object) -> bool:
        """Whether a whole range, or one address, is inside."""
        if isinstance(item, AddressRange):
            return self.start <= item.start and item.end <= self.end
        if isinstance(item, int):
            return self.start <= item < self.end
        return False

    def overlaps(self, other: AddressRange) -> bool:
        """Whether at least one byte is in both. Ranges that only touch do not overlap."""
        return self.start < other.end and other.start < self.end

    def intersection(self, other: AddressRange) -> AddressRange | None:
        """The bytes in both, or None."""
        if not self.overlaps(other):
            return None
        return AddressRange(max(self.start, other.start), min(self.end, other.end))

    def without(self, other: AddressRange) -> tuple[AddressRange, ...]:
        """The bytes that are not in ``other``: none, one or two ranges, in order."""
        shared = self.intersection(other)
        if shared is None:
            return (self,)
        ends = ((self.start, shared.start), (shared.end, self.end))
        return tuple(AddressRange(start, end) for start, end in ends if start < end)

    def shift_into(self, target: AddressRange) -> int:
        """Bytes to move this range by, so that it is at the nearest place inside ``target``.

        Positive: it lies below and must move up. Zero: it is inside. A range larger than
        ``target`` is moved to its start.
        """
        if self.start < target.start or self.size > target.size:
            return target.start - self.start
        return min(0, target.end - self.end)

    def distance_text(self, target: AddressRange) -> str:
        """Where this range lies, seen from ``target``: ``7.9 MiB below it``, ``4 KiB above it``."""
        shift = self.shift_into(target)
        if shift == 0:
            return "inside it" if self in target else "larger than it"
        return f"{human_size(abs(shift))} {'below' if shift > 0 else 'above'} it"

    def __str__(self) -> str:
        return f"0x{self.start:08x}-0x{self.last:08x}"

    def __repr__(self) -> str:
        """As it is constructed: the second address is the exclusive end."""
        return f"AddressRange(0x{self.start:08x}, 0x{self.end:08x})"


def merged(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """The same bytes as the fewest ranges, in order: overlapping and touching ones become one."""
    result: list[AddressRange] = []
    for item in sorted(ranges):
        if result and item.start <= result[-1].end:
            result[-1] = AddressRange(result[-1].start, max(result[-1].end, item.end))
        else:
            result.append(item)
    return tuple(result)
