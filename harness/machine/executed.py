# SPDX-License-Identifier: MIT
"""What a guest executed: QEMU's log of the blocks of code that it translated.

``-d in_asm`` writes each block at its first translation in a process (QEMU
``accel/tcg/translator.c``); a clone is a new process, so its log is what its test executed. A
block is translated to its end before it runs: an exception in its middle leaves later instructions
logged that never ran, and a conditional one is logged whether its condition held or not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.imageset.linetable import LineTable, read_line_table
from harness.imageset.model import ImageSet
from harness.imageset.symtab import Functions, functions_of

EVERY_FUNCTION = "*:*"
"""In place of a pattern of files: the code of all functions of the kernel is logged. It makes a
guest about half as fast.
"""

_INSTRUCTION = re.compile(rb"(?m)^0x([0-9a-f]{8,16}):")
MODULES = (0x7F000000, 0x80000000)
"""Where ARM kernels load modules, ``[start, end)``: the 16 MiB below ``PAGE_OFFSET``
(``arch/arm/include/asm/memory.h``; without Thumb-2).
"""


def trace_filter(ranges: Iterable[tuple[int, int]]) -> str:
    """QEMU's ``-dfilter`` for address ranges ``[start, end)``."""
    return ",".join(f"{start:#x}+{end - start:#x}" for start, end in ranges)


def parse_trace(log: bytes) -> frozenset[int]:
    """The virtual addresses of all instructions in a log, whatever stands between them."""
    return frozenset(int(word, 16) for word in _INSTRUCTION.findall(log))


def ranges(images: ImageSet, files: Sequence[str]) -> list[tuple[int, int]]:
    """The addresses ``[start, end)`` to be logged for source files that are `files` (patterns): of
    the kernel, and wherever modules may be. None where the kernel has no line table for any.

    Whole functions: QEMU logs a block or not by its first instruction, and that may come of another
    file's inline function.
    """
    if EVERY_FUNCTION in files and (functions := kernel_functions(images)).starts:
        return [(functions.starts[0], max(functions.ends)), MODULES]
    table = kernel_lines(images, files)
    return [*kernel_functions(images).around(table.ranges()), MODULES] if table.rows else []


def kernel_lines(images: ImageSet, files: Sequence[str]) -> LineTable:
    """The kernel's line table for the files; empty where there is none."""
    files = [pattern for pattern in files if pattern != EVERY_FUNCTION]
    if not files or images.vmlinux is None:
        return LineTable((), ())
    stat = images.vmlinux.stat()
    try:
        return _read(images.vmlinux, tuple(files), stat.st_size, stat.st_mtime_ns)
    except UserError:
        return LineTable((), ())


def kernel_functions(images: ImageSet) -> Functions:
    """The kernel's functions; none where its ELF file is not there."""
    if images.vmlinux is None:
        return Functions((), (), ())
    stat = images.vmlinux.stat()
    return _functions(images.vmlinux, stat.st_size, stat.st_mtime_ns).get("", Functions((), (), ()))


@functools.lru_cache(maxsize=4)
def _functions(elf: Path, _size: int, _mtime: int) -> dict[str, Functions]:
    return functions_of(elf)


def module_functions(module: Path) -> dict[str, Functions]:
    """A module's functions by the section that they are in."""
    stat = module.stat()
    return _functions(module, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read(elf: Path, files: tuple[str, ...], _size: int, _mtime: int) -> LineTable:
    return read_line_table(elf, files)
