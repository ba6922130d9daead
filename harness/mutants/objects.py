# SPDX-License-Identifier: MIT
"""Compiles changed sources one by one, and tells by the object whether a change changes anything.

An object is made by the very command that kbuild made it by (``.cma.o.cmd`` beside it, see the
kernel's ``scripts/Kbuild.include``), so a change costs one run of the compiler. What is compared is
what is loaded: the contents of the sections that are, and their relocations.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from harness.errors import BuildError, HarnessError

_COMMAND = re.compile(r"(?m)^(?:saved)?cmd_\S+ := (.*)$")
_SECONDS = 120


class Compiler:
    """Compiles versions of one source file of a built tree, which is not written."""

    def __init__(self, obj: Path, made: str, tmp: Path) -> None:
        """`obj` is kbuild's output directory, in which commands run; `made` the object, from there
        or absolute; `tmp` an empty directory.

        Raises `HarnessError` where kbuild has not made the object.
        """
        place = obj / made
        record = place.with_name(f".{place.name}.cmd")
        try:
            found = _COMMAND.search(record.read_text())
        except OSError as error:
            raise HarnessError(f"kbuild has not made {place}: {error.strerror}") from error
        if found is None:
            raise HarnessError(f"{record} has no command")
        self._tmp = tmp
        words = _compiler_words(found[1])
        # For a module, make may stand in its directory (from 6.13 on).
        self._cwd = obj if (obj / words[-1]).exists() else place.parent
        self._source = words[-1]
        self._words = words[:-1]

    def digest(self, source: bytes) -> str:
        """Of what the compiler makes of `source`. Raises `BuildError` where it refuses it."""
        work = self._tmp / PurePosixPath(self._source).name
        made = self._tmp / "made.o"
        # Whatever holds the file's name holds that of the original.
        work.write_bytes(f'#line 1 "{self._source}"\n'.encode() + source)
        beside = str(PurePosixPath(self._source).parent)
        argv = [*self._words, "-iquote", beside, "-o", str(made), str(work)]
        try:
            done = subprocess.run(
                argv, cwd=self._cwd, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"the compiler had no end in {_SECONDS} s") from error
        if done.returncode != 0:
            errors = done.stderr.decode(errors="replace").splitlines()
            first = next((line for line in errors if " error: " in line), "the compiler failed")
            raise BuildError(first)
        return object_digest(made)


def _compiler_words(command: str) -> list[str]:
    """The compiler's command, up to its source, without its output and its list of dependencies."""
    # What follows are other programs, which work on the object; make doubles the dollars.
    words = shlex.split(command.replace("$$", "$").replace("$(pound)", "#"))
    end = next((number for number, word in enumerate(words) if word in (";", "&&")), len(words))
    words = [word.removesuffix(";") for word in words[:end]]
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith("-Wp,-M"):
            skip = False
        elif word == "-o":
            skip = True
        else:
            kept.append(word)
    return kept


def object_digest(path: Path) -> str:
    """Of all that is loaded of an object file. Debug information is not, nor are symbols' names
    but those that relocations need.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        loaded = {
            number: section
            for number, section in enumerate(elf.iter_sections())
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
        }
        for section in loaded.values():
            digest.update(f"{section.name} {section['sh_size']}\n".encode())
            if section["sh_type"] != "SHT_NOBITS":
                digest.update(section.data())
        for section in elf.iter_sections():
            if section["sh_type"] in ("SHT_REL", "SHT_RELA") and section["sh_info"] in loaded:
                digest.update("\n".join(_relocations(elf, section)).encode())
    return digest.hexdigest()


def _relocations(elf: Any, section: Any) -> Sequence[str]:
    symbols = elf.get_section(section["sh_link"])
    lines = [section.name]
    for relocation in section.iter_relocations():
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        index = symbol["st_shndx"]
        where = elf.get_section(index).name if isinstance(index, int) else index
        # A local symbol is a place; its name may be a number of the compiler's.
        local = symbol["st_info"]["bind"] == "STB_LOCAL"
        name = f"{where}+{symbol['st_value']:#x}" if local else symbol.name
        addend = relocation["r_addend"] if relocation.is_RELA() else 0
        lines.append(f"{relocation['r_offset']:#x} {relocation['r_info_type']} {name} {addend:#x}")
    return lines
