# SPDX-License-Identifier: MIT
"""Which source line each instruction of a kernel or module comes from: DWARF's line table.

Read by pyelftools from an ELF file whose objects of interest were compiled with ``-g1``
(DWARF 5, section 6.2). Paths are those of the kernel tree: ``mm/cma.c``.
"""

from __future__ import annotations

import bisect
import dataclasses
import fnmatch
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from harness.errors import UserError
from harness.imageset.statements import Entry, Group, Jump, first_jump, told

TRACED = (
    "mm/cma*.c",
    "kernel/dma/contiguous.c",
    "drivers/of/of_reserved_mem.c",
    "mm/page_alloc.c:*_contig_*",
    "mm/page_alloc.c:*_valid_contig",
    "mm/page_isolation.c",
)
"""The kernel's files of interest: those that contiguous memory comes from. Patterns, with a colon
and a pattern of functions where not all of a file is.
"""
OBJECTS = (
    "cma",
    "cma_debug",
    "cma_sysfs",
    "contiguous",
    "of_reserved_mem",
    "page_alloc",
    "page_isolation",
)
"""Their objects, which kernels are built with line tables for."""
LINE_FLAGS = ("-g1", "-gstatement-frontiers")
"""gcc's options for a line table and no more; by the second, statements that have no instruction of
their own are in it too. The code is the same with and without.
"""
RULE = "3"
"""Which instructions tell of a line. Part of the key of what is kept of executed lines: raise it
when others do.
"""
_ASSERTION = "__compiletime_assert_"
"""Functions that are declared in the middle of others, and never defined
(``include/linux/compiler_types.h``).
"""
_SET_ADDRESS = 2
"""``DW_LNE_set_address`` (DWARF 5, section 7.22)."""


@dataclasses.dataclass(frozen=True, order=True)
class Row:
    """Instructions of one line that follow each other, ``[start, end)``."""

    start: int
    end: int
    file: str
    line: int
    sure: bool = True
    """Whether the line was executed where they are."""


@dataclasses.dataclass(frozen=True, order=True)
class SourceFunction:
    """A function as the source has it, inlined or not."""

    file: str
    line: int
    """Where it is declared to begin."""
    name: str


@dataclasses.dataclass(frozen=True)
class LineTable:
    """Rows by address, and the functions of the files that they come from. Two rows cover the same
    instructions or none together.
    """

    rows: tuple[Row, ...]
    functions: tuple[SourceFunction, ...]

    @property
    def code(self) -> dict[str, set[int]]:
        """The lines of each file of which instructions tell whether they were executed."""
        found: dict[str, set[int]] = {}
        for row in self.rows:
            if row.sure:
                found.setdefault(row.file, set()).add(row.line)
        return found

    def lines(self, addresses: Iterable[int]) -> dict[str, set[int]]:
        """The lines that were executed where instructions at `addresses` were."""
        starts = [row.start for row in self.rows]
        found: dict[str, set[int]] = {}
        for address in addresses:
            index = bisect.bisect_right(starts, address) - 1
            while index >= 0 and self.rows[index].start <= address < self.rows[index].end:
                row = self.rows[index]
                if row.sure:
                    found.setdefault(row.file, set()).add(row.line)
                index -= 1
        return found

    def ranges(self) -> list[tuple[int, int]]:
        """The address ranges ``[start, end)`` that its rows cover, merged where they touch."""
        merged: list[tuple[int, int]] = []
        for row in self.rows:
            if merged and row.start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], row.end))
            else:
                merged.append((row.start, row.end))
        return merged

    def function_of(self, file: str, line: int) -> str:
        """The function whose source has the line; empty for a line above the first one."""
        at = bisect.bisect_right(self.functions, (file, line), key=lambda f: (f.file, f.line)) - 1
        if at < 0 or self.functions[at].file != file:
            return ""
        return self.functions[at].name

    def moved(self, by: int) -> LineTable:
        """The same with `by` added to each address: a module's, once it is known where it is."""
        rows = tuple(dataclasses.replace(r, start=r.start + by, end=r.end + by) for r in self.rows)
        return LineTable(rows, self.functions)


def read_line_table(elf: Path, wanted: Sequence[str]) -> LineTable:
    """The lines of the files that one of the patterns `wanted` names (``mm/cma*.c``, or
    ``mm/page_alloc.c:*_contig_*`` for some functions), in a linked file.

    Raises `UserError` for what is no ELF file. A file without debug information gives an empty
    table.
    """
    return read_line_tables(elf, wanted).get("", LineTable((), ()))


def read_line_tables(elf: Path, wanted: Sequence[str]) -> dict[str, LineTable]:
    """The same for a module: a table for each section, whose addresses begin with the section.

    What a linked file has is under the name ``""``. Raises as `read_line_table` does.
    """
    try:
        with elf.open("rb") as stream:
            return _read(ELFFile(stream), wanted)
    except OSError as error:
        raise UserError(f"cannot read {elf}: {error.strerror}") from error
    except Exception as error:  # a patch may have made it, and then it may be like anything
        raise UserError(f"{elf} has no line table that can be read: {error}") from error


def _read(elf: Any, wanted: Sequence[str]) -> dict[str, LineTable]:
    if not elf.has_dwarf_info():
        return {}
    rows: dict[str, list[Row]] = {}
    functions: set[SourceFunction] = set()
    sections = _sections_of_sequences(elf)
    dwarf = elf.get_dwarf_info(follow_links=False)
    code = _Code(elf)
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        name = _text(top.attributes.get("DW_AT_name"))
        # Units of other files are not decoded in a kernel: there may be thousands. In a module each
        # is, since its sequences are counted.
        if not sections and not _is_wanted(tree_path(name, wanted), wanted):
            continue
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        files = _files(program, wanted)
        for section, row in _rows(program, files, wanted, sections, _Entries.of(top), code):
            rows.setdefault(section, []).append(row)
        functions |= set(_functions(top, files, wanted))
    found = {
        name: LineTable(tuple(_disjoint(these)), tuple(sorted(functions)))
        for name, these in rows.items()
    }
    return {name: _of_functions(table, wanted) for name, table in found.items()}


def _of_functions(table: LineTable, wanted: Sequence[str]) -> LineTable:
    """Without the functions that no pattern asks for, and what was made for the compiler alone."""

    def asked(file: str, function: str) -> bool:
        if function.startswith(_ASSERTION):
            return False
        patterns = (pattern.partition(":") for pattern in wanted)
        return any(
            fnmatch.fnmatchcase(file, name) and (not of or fnmatch.fnmatchcase(function, of))
            for name, _, of in patterns
        )

    functions = tuple(f for f in table.functions if asked(f.file, f.name))
    whole = [f for f in table.functions if not f.name.startswith(_ASSERTION)]
    named = LineTable((), tuple(whole))
    rows = tuple(r for r in table.rows if asked(r.file, named.function_of(r.file, r.line)))
    return LineTable(rows, functions)


def _sections_of_sequences(elf: Any) -> list[str]:
    """The section of each sequence of a line program of a module, in their order; none in a linked
    file. A sequence begins with an address that is relocated against its section.
    """
    relocations = elf.get_section_by_name(".rel.debug_line")
    if relocations is None:
        return []
    symbols = elf.get_section(relocations["sh_link"])
    found = []
    for relocation in sorted(relocations.iter_relocations(), key=lambda r: r["r_offset"]):
        index = symbols.get_symbol(relocation["r_info_sym"])["st_shndx"]
        if isinstance(index, int):
            section = elf.get_section(index)
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
                found.append(section.name)
    return found


@dataclasses.dataclass(frozen=True)
class _Entries:
    """Where the functions of a unit begin."""

    lines: Mapping[int, tuple[int, int]]
    """The numbers of their files, and their lines, by address."""
    ordered: Sequence[tuple[int, int]]
    """All of these, and of functions that have no address of their own."""

    @classmethod
    def of(cls, top: Any) -> _Entries:
        """Those of the unit with this DIE."""
        lines, ordered = {}, []
        for die in top.iter_children():
            if die.tag == "DW_TAG_subprogram" and "DW_AT_decl_line" in die.attributes:
                place = (die.attributes[f"DW_AT_decl_{part}"].value for part in ("file", "line"))
                ordered.append(tuple(place))
                if start := die.attributes.get("DW_AT_low_pc"):
                    lines[start.value] = ordered[-1]
        return cls(lines, sorted(ordered))

    def own(self, pending: list[Any]) -> list[Any]:
        """Of lines that begin at one address, those of the function that begins there, if one does:
        what comes before its first line is the end of another that never returns.
        """
        entry = self.lines.get(pending[0].address)
        for index, state in enumerate(pending):
            at = bisect.bisect_right(self.ordered, (state.file, state.line))
            if entry is not None and at and self.ordered[at - 1] == entry:
                return pending[index:]
        return pending


class _Code:
    """The instructions of an ELF file."""

    def __init__(self, elf: Any) -> None:
        self._sections = [s for s in elf.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR]
        self._data: dict[str, bytes] = {}

    def first_jump(self, section: str, start: int, end: int) -> Jump:
        """What the instructions at ``[start, end)`` do: of a section of a module, or of a linked
        file, which has no name of one.
        """
        for one in self._sections:
            base = one["sh_addr"]
            if (section in ("", one.name)) and base <= start < base + one["sh_size"]:
                if one.name not in self._data:
                    self._data[one.name] = one.data()
                return first_jump(self._data[one.name][start - base : end - base])
        return Jump.NONE


def _rows(
    program: Any,
    files: Mapping[int, str],
    wanted: Sequence[str],
    sections: list[str],
    entries: _Entries,
    code: _Code,
) -> Iterator[tuple[str, Row]]:
    """Rows with their sections; takes from `sections` one for each sequence."""
    pending: list[Any] = []
    section = ""
    function: list[Group] = []
    for entry in program.get_entries():
        state = entry.state
        if sections and entry.is_extended and entry.command == _SET_ADDRESS:
            section = sections.pop(0)
        if state is None:
            continue
        if pending and state.address > pending[0].address:
            if pending[0].address in entries.lines:
                yield from _told(function, files, wanted, section, code)
                function = []
            rows = (Entry(s.file, s.line, bool(s.is_stmt)) for s in entries.own(pending))
            function.append(Group(pending[0].address, state.address, tuple(rows)))
            pending = []
        if state.end_sequence:
            yield from _told(function, files, wanted, section, code)
            pending, function = [], []
        else:
            pending.append(state)


def _not_known(_start: int, _end: int) -> Jump:
    """Of Thumb instructions."""
    return Jump.NONE


def _told(
    function: Sequence[Group],
    files: Mapping[int, str],
    wanted: Sequence[str],
    section: str,
    code: _Code,
) -> Iterator[tuple[str, Row]]:
    """The rows of a function."""
    arm = not any(group.start % 4 for group in function)
    jump = functools.partial(code.first_jump, section) if arm else _not_known
    said = told(function, jump)
    for group, good in zip(function, said, strict=True):
        for entry, sure in zip(group.entries, good, strict=True):
            file = files.get(entry.file, "")
            if entry.line and _is_wanted(file, wanted):
                yield section, Row(group.start, group.end, file, entry.line, sure)


def _disjoint(rows: Iterable[Row]) -> Iterator[Row]:
    """In the order of addresses; of two that overlap the one that begins later holds, and those
    that begin together are there together.
    """
    ordered = sorted(set(rows))
    starts = sorted({row.start for row in ordered})
    after = dict(itertools.pairwise(starts))
    for row in ordered:
        end = min(row.end, after.get(row.start, row.end))
        yield dataclasses.replace(row, end=end)


def _functions(
    top: Any, files: Mapping[int, str], wanted: Sequence[str]
) -> Iterator[SourceFunction]:
    for die in top.iter_children():
        if die.tag != "DW_TAG_subprogram" or "DW_AT_decl_line" not in die.attributes:
            continue
        file = files.get(die.attributes["DW_AT_decl_file"].value, "")
        name = _text(die.attributes.get("DW_AT_name"))
        if name and _is_wanted(file, wanted):
            yield SourceFunction(file, die.attributes["DW_AT_decl_line"].value, name)


def _files(program: Any, wanted: Sequence[str]) -> dict[int, str]:
    """The program's files by number; DWARF 5 counts files and directories from 0, older from 1."""
    header = program.header
    version = header["version"]
    directories = header["include_directory"]
    found = {}
    for index, entry in enumerate(header["file_entry"]):
        name = _decoded(entry.name)
        number = entry.dir_index if version >= 5 else entry.dir_index - 1
        if 0 <= number < len(directories) and not name.startswith("/"):
            name = f"{_decoded(directories[number])}/{name}"
        found[index if version >= 5 else index + 1] = tree_path(name, wanted)
    return found


def tree_path(name: str, wanted: Sequence[str]) -> str:
    """A compiler's name of a source as the kernel tree has it: ``../mm/cma.c`` is ``mm/cma.c``.

    An absolute name (a build that was not out of tree) is the part of it that is `wanted`.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".", "..")]
    suffixes = ["/".join(parts[index:]) for index in range(len(parts))]
    return next((one for one in suffixes if _is_wanted(one, wanted)), "/".join(parts))


def _is_wanted(file: str, wanted: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(file, pattern.partition(":")[0]) for pattern in wanted)


def _text(attribute: Any) -> str:
    return _decoded(attribute.value) if attribute is not None else ""


def _decoded(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
