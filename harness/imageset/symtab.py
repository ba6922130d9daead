# SPDX-License-Identifier: MIT
"""The symbols of an ELF file, under names that stay the same from one build to the next.

A function of one file alone (``static``) is called ``cma.c:cma_bitmap_maxno``, as several files may
have one of a name; all others are called as they are (ELF, "Symbol Table": a ``STT_FILE`` symbol
stands before the local symbols of its file).
"""

from __future__ import annotations

import bisect
import dataclasses
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

_ENTRY = struct.Struct("<IIIBBH")
_LOCAL = 0
OBJECT, FUNCTION, _FILE = 1, 2, 4
"""``STT_OBJECT``, ``STT_FUNC`` and ``STT_FILE``."""
NO_TYPE, SECTION = 0, 3


@dataclasses.dataclass(frozen=True)
class Symbol:
    """One entry of a symbol table."""

    name: str
    """As the module's text says."""
    value: int
    """In a linked file its address, else its offset in its section."""
    size: int
    kind: int
    """`FUNCTION`, `OBJECT`, …"""
    section: int
    """The number of its section, or one of ELF's special numbers."""


@dataclasses.dataclass(frozen=True)
class Functions:
    """The functions of a linked file, or of a section of a module, by address."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    """Exclusive."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, symbols: Iterable[Symbol]) -> Functions:
        """From a symbol table; of several names of one function the first in the alphabet."""
        found: dict[int, tuple[int, str]] = {}
        for symbol in symbols:
            if symbol.kind == FUNCTION and symbol.size:
                start = symbol.value & ~1
                one = (start + symbol.size, symbol.name)
                found[start] = min(found.get(start, one), one, key=lambda item: item[1])
        starts = tuple(sorted(found))
        return cls(
            starts,
            tuple(found[start][0] for start in starts),
            tuple(found[start][1] for start in starts),
        )

    def at(self, addresses: Iterable[int]) -> frozenset[str]:
        """The functions that have instructions at `addresses`; other addresses are passed over."""
        found: set[str] = set()
        end = 0
        for address in sorted(addresses):
            if address < end:
                continue
            index = bisect.bisect_right(self.starts, address) - 1
            if index >= 0 and address < self.ends[index]:
                end = self.ends[index]
                found.add(self.names[index])
        return frozenset(found)

    def around(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Address ranges ``[start, end)``, each with all of the functions that it begins or ends
        in; merged where they touch.
        """
        found: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            first = bisect.bisect_right(self.starts, start) - 1
            if first >= 0 and start < self.ends[first]:
                start = self.starts[first]
            last = bisect.bisect_right(self.starts, end - 1) - 1
            if last >= 0:
                end = max(end, self.ends[last])
            if found and start <= found[-1][1]:
                start, end = found[-1][0], max(found.pop()[1], end)
            found.append((start, end))
        return found

    def moved(self, by: int) -> Functions:
        """The same with `by` added to each address."""
        return Functions(
            tuple(start + by for start in self.starts),
            tuple(end + by for end in self.ends),
            self.names,
        )


def symbols(elf: Any) -> list[Symbol]:
    """The symbols of an open ELF file (32 bits, little-endian), in the order of its table.

    Raises what a damaged file makes pyelftools and `struct` raise.
    """
    table = elf.get_section_by_name(".symtab")
    if table is None:
        return []
    names: bytes = elf.get_section(table["sh_link"]).data()
    return list(_symbols(table.data(), names))


def _symbols(table: bytes, names: bytes) -> Iterator[Symbol]:
    file = ""
    for name_at, value, size, info, _, section in _ENTRY.iter_unpack(table):
        end = names.find(b"\0", name_at)
        name = names[name_at:end].decode(errors="replace")
        kind, binding = info & 15, info >> 4
        if kind == _FILE:
            file = name.rpartition("/")[2]
        elif binding == _LOCAL and kind in (FUNCTION, OBJECT):
            name = f"{file}:{name}"
        yield Symbol(name, value, size, kind, section)


def functions_of(elf: Path) -> dict[str, Functions]:
    """The functions of a linked file under the name ``""``, those of a module by the name of their
    section. Empty for what cannot be read: a patch may have made it.
    """
    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            found = symbols(file)
            if file["e_type"] != "ET_REL":
                return {"": Functions.of(found)}
            groups: dict[str, list[Symbol]] = {}
            for symbol in found:
                if symbol.kind == FUNCTION and 0 < symbol.section < file.num_sections():
                    groups.setdefault(file.get_section(symbol.section).name, []).append(symbol)
            return {name: Functions.of(group) for name, group in groups.items()}
    except Exception:  # a made-up file makes elftools raise whatever there is
        return {}
