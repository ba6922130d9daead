# SPDX-License-Identifier: MIT
"""Which functions and which data of two builds of an object file differ.

Code is compared with its relocations, which name what an instruction refers to; where that is
placed differs with all that is before it, and is no difference (ELF for the Arm Architecture,
"Relocation"). So a changed header, macro, type or option shows as the functions whose code it
changed, and so does a function that is inlined, in those that call it.
"""

from __future__ import annotations

import bisect
import dataclasses
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from harness.imageset.symtab import FUNCTION, OBJECT, SECTION, Symbol, symbols

_WORD = struct.Struct("<I")
_PC_RELATIVE = 8
"""What an ARM instruction sees of its own address is two instructions ahead."""
_WORDS = {2, 3, 38}
"""``R_ARM_ABS32``, ``REL32`` and ``TARGET1``: the word itself is what is added to a symbol."""
_HALVES = {43, 44, 45, 46}
"""``R_ARM_MOVW_ABS_NC``, ``MOVT_ABS`` and those relative to the place: 16 bits in two parts of an
instruction are what is added.
"""
_BRANCHES = {1, 28, 29}
"""``R_ARM_PC24``, ``R_ARM_CALL``, ``R_ARM_JUMP24``."""
_IGNORED = (
    ".ARM.ex",
    "__bug_table",
    "__ex_table",
    ".pv_table",
    ".alt.smp.init",
    ".rodata.str",
    "__ksymtab_strings",
    ".modinfo",
    ".gnu.linkonce",
    "__versions",
    ".note",
    ".export_symbol",
)
"""Sections that follow from the code beside them: line numbers of warnings, places to be patched at
the boot; or whose contents count where something refers to them.
"""


@dataclasses.dataclass(frozen=True)
class CodeChange:
    """What differs between two builds of one object."""

    functions: frozenset[str] = frozenset()
    """Functions whose code differs, or that only one has, as `harness.imageset.symtab` names them.
    """
    data: frozenset[str] = frozenset()
    """Data that differs: names of symbols, or of sections."""
    every: frozenset[str] = frozenset()
    """All functions of both: what may use changed data."""

    @property
    def nothing(self) -> bool:
        """Whether they are the same in all that is executed or read."""
        return not self.functions and not self.data


def compare(before: Path, after: Path) -> CodeChange:
    """Compares two object files, or two modules.

    Raises `ValueError` where one cannot be read: a patch may have made it.
    """
    one, two = _read(before), _read(after)
    functions = _different(one.functions, two.functions)
    data = {name for name in one.data.keys() & two.data.keys() if one.data[name] != two.data[name]}
    # Data that only one has is used by functions that differ, or through a table of the linker's.
    data |= {name for name in one.data.keys() ^ two.data.keys() if name.startswith("section ")}
    every = frozenset(one.functions.keys() | two.functions.keys())
    return CodeChange(frozenset(functions), frozenset(data), every)


def _different(one: Mapping[str, object], two: Mapping[str, object]) -> set[str]:
    return {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}


@dataclasses.dataclass(frozen=True)
class _Contents:
    functions: dict[str, tuple[object, ...]]
    data: dict[str, tuple[object, ...]]


def _read(path: Path) -> _Contents:
    try:
        with path.open("rb") as stream:
            return _Object(ELFFile(stream)).contents()
    except Exception as error:  # whatever elftools raises for a made-up file
        raise ValueError(f"{path} is no object file that can be read: {error}") from error


class _Object:
    """One object file while it is read."""

    def __init__(self, elf: Any) -> None:
        self._elf = elf
        self._symbols = symbols(elf)
        self._sections = [elf.get_section(index) for index in range(elf.num_sections())]
        self._contents = [
            b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
            for section in self._sections
        ]
        self._named: dict[int, list[Symbol]] = {}
        for symbol in self._symbols:
            if symbol.kind in (FUNCTION, OBJECT):
                self._named.setdefault(symbol.section, []).append(symbol)
        for group in self._named.values():
            group.sort(key=lambda symbol: (symbol.value, symbol.name))
        self._relocations = self._read_relocations()

    def _read_relocations(self) -> dict[int, dict[int, tuple[int, Symbol]]]:
        found: dict[int, dict[int, tuple[int, Symbol]]] = {}
        for section, content in zip(self._sections, self._contents, strict=True):
            if section["sh_type"] != "SHT_REL":
                continue
            rows = found.setdefault(section["sh_info"], {})
            for at in range(0, len(content) - 7, 8):
                offset, info = struct.unpack_from("<II", content, at)
                rows[offset] = (info & 0xFF, self._symbols[info >> 8])
        return found

    def contents(self) -> _Contents:
        """All of its code and data, in a form that can be compared."""
        functions: dict[str, tuple[object, ...]] = {}
        data: dict[str, tuple[object, ...]] = {}
        for index, section in enumerate(self._sections):
            flags = section["sh_flags"]
            if not flags & SH_FLAGS.SHF_ALLOC or section.name.startswith(_IGNORED):
                continue
            if section["sh_type"] == "SHT_NOBITS":
                continue
            code = bool(flags & SH_FLAGS.SHF_EXECINSTR)
            found = functions if code else data
            covered = []
            for symbol in self._named.get(index, ()):
                if symbol.size:
                    start = symbol.value - (symbol.value % 2 if code else 0)
                    found[symbol.name] = self._part(index, start, start + symbol.size, code)
                    covered.append((start, start + symbol.size))
            rest = tuple(
                self._part(index, start, end, code)
                for start, end in _gaps(covered, len(self._contents[index]))
            )
            if any(rest):
                found[f"section {section.name}"] = rest
        return _Contents(functions, data)

    def _part(self, section: int, start: int, end: int, code: bool) -> tuple[object, ...]:
        """The words of a range, each as it is or as what it refers to."""
        content, relocations = self._contents[section], self._relocations.get(section, {})
        out: list[object] = []
        for at in range(start, end, 4):
            raw = content[at : min(at + 4, end)]
            relocation = relocations.get(at)
            if relocation is not None and len(raw) == 4:
                out.append(self._reference(raw, *relocation))
            elif code and len(raw) == 4 and (target := _branch(raw, at)) is not None:
                inside = start <= target < end
                out.append((raw[3], target - start if inside else self._place(section, target)))
            else:
                out.append(raw)
        return tuple(out)

    def _reference(self, raw: bytes, kind: int, symbol: Symbol) -> tuple[object, ...]:
        (word,) = _WORD.unpack(raw)
        # A label of the compiler's (``.LC9``) is a place in its section; its number says nothing.
        if symbol.kind != SECTION and not symbol.name.startswith(".L"):
            # Offsets of a branch to a name are those of the instruction, the same wherever it is.
            return kind, symbol.name, word
        if kind in _BRANCHES:
            target = symbol.value + _signed(word & 0xFFFFFF) * 4 + _PC_RELATIVE
            return kind, word >> 24, self._place(symbol.section, target)
        if kind in _WORDS:
            return kind, self._place(symbol.section, symbol.value + word)
        if kind in _HALVES:
            added = (word >> 4 & 0xF000) | (word & 0xFFF)
            return kind, word & 0xFFF0F000, self._place(symbol.section, symbol.value + added)
        return kind, word, self._sections[symbol.section].name

    def _place(self, section: int, offset: int) -> object:
        """What is at an offset of a section: a string, or a symbol and what is added to it."""
        if not 0 < section < len(self._sections):
            return section, offset
        if self._sections[section]["sh_flags"] & SH_FLAGS.SHF_STRINGS:
            content = self._contents[section]
            text = content[offset : content.find(b"\0", offset)]
            # What __FILE__ gives depends on where it was built.
            return text.rpartition(b"/")[2] if text.endswith((b".c", b".h")) else text
        group = self._named.get(section, [])
        at = bisect.bisect_right(group, offset, key=lambda symbol: symbol.value & ~1) - 1
        if at >= 0 and offset <= group[at].value + group[at].size:
            return group[at].name, offset - (group[at].value & ~1)
        return self._sections[section].name, self._unnamed(section, offset)

    def _unnamed(self, section: int, offset: int) -> object:
        """What is at an offset that no symbol has: the first words there, or the offset itself."""
        content = self._contents[section]
        return content[offset : offset + 64] if content else offset


def _branch(raw: bytes, at: int) -> int | None:
    """Where a branch goes, as an offset in its section; None for another instruction."""
    (word,) = _WORD.unpack(raw)
    if (word >> 25) & 7 != 5 or word >> 28 == 15:
        return None
    return at + _PC_RELATIVE + _signed(word & 0xFFFFFF) * 4


def _signed(value: int) -> int:
    return value - (1 << 24) if value & (1 << 23) else value


def _gaps(covered: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The ranges ``[start, end)`` of ``[0, size)`` that are not covered."""
    gaps, at = [], 0
    for start, end in sorted(covered):
        if start > at:
            gaps.append((at, start))
        at = max(at, end)
    if size > at:
        gaps.append((at, size))
    return gaps
