# SPDX-License-Identifier: MIT
"""Of which lines an instruction tells that they were executed.

A line table says from which line each instruction was made, and where statements begin (DWARF 5,
section 6.2: ``is_stmt``; several may begin at one address). Two things stand against taking each
instruction for its line. A compiler moves instructions of a statement up, to where it is not sure
yet that this is executed: what comes before all its beginnings does not count. And it may note that
a statement begins before the branch of the one before it, which may leave it out: such a beginning
counts only where nothing else tells of the line.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence

_ALWAYS = 0xE
"""The condition of an ARM instruction that has none (Arm ARM, A8.3)."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a line table."""

    file: int
    line: int
    statement: bool
    """A statement begins there."""

    @property
    def place(self) -> tuple[int, int]:
        """File and line."""
        return self.file, self.line


@dataclasses.dataclass(frozen=True)
class Group:
    """The rows that begin at one address; the last one's are the instructions ``[start, end)``."""

    start: int
    end: int
    entries: tuple[Entry, ...]

    @property
    def owner(self) -> Entry:
        """The row whose instructions these are."""
        return self.entries[-1]


class Jump(enum.Enum):
    """What the first of some instructions does that may go elsewhere."""

    NONE = enum.auto()
    CONDITIONAL = enum.auto()
    ALWAYS = enum.auto()


def first_jump(code: bytes) -> Jump:
    """Of ARM instructions, little endian; calls are none."""
    for at in range(0, len(code) - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        jump = word >> 24 & 0xF == 0xA  # B
        jump |= word & 0x0FFFFFF0 == 0x012FFF10  # BX
        jump |= word & 0x0E108000 == 0x08108000  # LDM with the program counter
        if jump and word >> 28 <= _ALWAYS:
            return Jump.ALWAYS if word >> 28 == _ALWAYS else Jump.CONDITIONAL
    return Jump.NONE


def told(groups: Sequence[Group], jump: Callable[[int, int], Jump]) -> list[list[bool]]:
    """For each row of a function, whether its line was executed where the address is.

    `groups` are in the order of addresses; `jump` says what the first of the instructions at
    ``[start, end)`` does that may go elsewhere.
    """
    begun: set[tuple[int, int]] = set()
    first: dict[tuple[int, int], int] = {}
    early: set[tuple[int, int, int]] = set()
    for index, group in enumerate(groups):
        for number, entry in enumerate(group.entries):
            if entry.statement:
                # Of a way that the compiler copied: what begins here again, behind it.
                later = {other.place for other in group.entries[number + 1 :] if other.statement}
                if _too_early(groups[index:], entry, begun - later, jump):
                    early.add((group.start, *entry.place))
                begun.add(entry.place)
                first.setdefault(entry.place, group.start)

    def good(group: Group, entry: Entry) -> bool:
        if entry.statement:
            return (group.start, *entry.place) not in early
        # What comes before it was made early.
        return group.start > first.get(entry.place, -1)

    sure = {e.place for group in groups for e in group.entries if good(group, e)}
    return [
        [good(group, e) or (e.statement and e.place not in sure) for e in group.entries]
        for group in groups
    ]


def _too_early(
    groups: Sequence[Group],
    entry: Entry,
    begun: set[tuple[int, int]],
    jump: Callable[[int, int], Jump],
) -> bool:
    """Whether an earlier statement may still leave out the one that begins in the first group."""
    for number, group in enumerate(groups):
        owner = group.owner
        if number and any(other.statement for other in group.entries):
            return False
        if (found := jump(group.start, group.end)) is not Jump.NONE:
            other = owner.place != entry.place and owner.place in begun
            return other and found is Jump.CONDITIONAL
        if number and owner.place == entry.place:
            return False
    return False
