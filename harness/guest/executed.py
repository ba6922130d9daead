# SPDX-License-Identifier: MIT
"""The source lines that a guest executed, of the kernel and of the driver."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.coverage.lines import Lines, frozen, union
from harness.errors import HarnessError, UserError
from harness.imageset.linetable import LineTable, SourceFunction, read_line_tables
from harness.imageset.model import ImageSet
from harness.machine.executed import MODULES, kernel_lines, parse_trace
from harness.machine.machine import Machine

SECTIONS = "/sys/module/{}/sections/.*text*"
"""Where each section of code of a module was loaded (``kernel/module/sysfs.c``)."""
DRIVER = "images/module"
"""The driver's sources, as reports name their directory."""
_TIMEOUT = 10.0


def module_name(images: ImageSet) -> str:
    """The driver's name in the kernel; empty where the image set has none."""
    return images.module.stem.replace("-", "_") if images.module is not None else ""


def note_module(machine: Machine) -> None:
    """Remembers where the driver's code is in a guest whose executed code is logged."""
    name = module_name(machine.config.images)
    if not machine.config.trace or not name or not machine.channel.idle:
        return
    with contextlib.suppress(HarnessError, ValueError):
        for path, text in machine.channel.get_many([SECTIONS.format(name)], _TIMEOUT).items():
            section = PurePosixPath(path).name
            machine.module_sections[section] = int(text, 16)


def executed_lines(machine: Machine) -> tuple[Lines, Lines]:
    """The lines that a machine executed so far: those of a boot before it was cloned, and since."""
    note_module(machine)
    return (
        _lines(machine, parse_trace(machine.boot_trace)),
        _lines(machine, parse_trace(machine.trace())),
    )


def code_lines(
    images: ImageSet, files: tuple[str, ...]
) -> tuple[Lines, tuple[SourceFunction, ...]]:
    """All lines with instructions, and the functions, of the kernel's files and of the driver."""
    kernel = kernel_lines(images, files)
    driver = _driver_tables(images.module)
    lines = union(frozen(kernel.code), *(_driver_names(t.code) for t in driver.values()))
    functions = set(kernel.functions)
    for table in driver.values():
        functions |= {SourceFunction(_name(f.file), f.line, f.name) for f in table.functions}
    return lines, tuple(sorted(functions))


def _lines(machine: Machine, addresses: Iterable[int]) -> Lines:
    found = frozenset(addresses)
    kernel = kernel_lines(machine.config.images, machine.config.trace)
    parts: list[Lines] = [frozen(kernel.lines(found))]
    inside = {address for address in found if MODULES[0] <= address < MODULES[1]}
    for section, table in _driver_tables(machine.config.images.module).items():
        if inside and section in machine.module_sections:
            moved = table.moved(machine.module_sections[section])
            parts.append(_driver_names(moved.lines(inside)))
    return union(*parts)


def _driver_tables(module: Path | None) -> dict[str, LineTable]:
    if module is None:
        return {}
    stat = module.stat()
    try:
        return _read(module, stat.st_size, stat.st_mtime_ns)
    except UserError:
        return {}


@functools.lru_cache(maxsize=8)
def _read(module: Path, _size: int, _mtime: int) -> dict[str, LineTable]:
    return read_line_tables(module, ("*.c",))


def _driver_names(lines: dict[str, set[int]]) -> Lines:
    return {
        _name(file): frozenset(numbers)
        for file, numbers in lines.items()
        # modpost's own file is nobody's source.
        if not file.endswith(".mod.c") and "/include/" not in file
    }


def _name(file: str) -> str:
    return f"{DRIVER}/{PurePosixPath(file).name}"
