# SPDX-License-Identifier: MIT
"""The source lines that a guest executed, of the kernel and of the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.coverage.lines import Lines, frozen, union
from harness.errors import HarnessError, UserError
from harness.imageset.linetable import LineTable, SourceFunction, read_line_tables
from harness.imageset.model import ImageSet
from harness.machine.errors import MachineError
from harness.machine.executed import (
    EVERY_FUNCTION,
    MODULES,
    kernel_functions,
    kernel_lines,
    module_functions,
    parse_trace,
)
from harness.machine.machine import Machine

SECTIONS = "/sys/module/{}/sections/.*text*"
"""Where each section of code of a module was loaded (``kernel/module/sysfs.c``)."""
DRIVER = "images/module"
"""The driver's sources, as reports name their directory."""
UNPLACED = f"{DRIVER}:?"
"""In place of functions: code of a module was executed, and where it was loaded is not known."""
_TIMEOUT = 10.0


def module_name(images: ImageSet) -> str:
    """The driver's name in the kernel; empty where the image set has none."""
    return images.module.stem.replace("-", "_") if images.module is not None else ""


def note_module(machine: Machine) -> None:
    """Remembers where the driver's code is in a guest whose executed code is logged."""
    name = module_name(machine.config.images)
    if not machine.config.trace or not name or not machine.listens:
        return
    with contextlib.suppress(HarnessError, ValueError):
        for path, text in machine.channel.get_many([SECTIONS.format(name)], _TIMEOUT).items():
            section = PurePosixPath(path).name
            machine.module_sections[section] = int(text, 16)


@dataclasses.dataclass(frozen=True)
class Executed:
    """What a machine executed."""

    lines: Lines
    functions: frozenset[str]
    """Of the whole kernel and of the driver, as `harness.imageset.symtab` names them; empty where
    only lines were asked for.
    """

    @property
    def driver(self) -> bool:
        """Whether code of the driver is among it."""
        return any(name.startswith(f"{DRIVER}:") for name in self.functions) or any(
            file.startswith(f"{DRIVER}/") for file in self.lines
        )


def executed(machine: Machine) -> Executed:
    """What a machine executed so far; of a clone without the boot before it."""
    return _placed(machine, machine.trace())


def executed_at_boot(machine: Machine) -> Executed:
    """What a clone's boot executed before it was frozen, and what was done to it then.

    Raises `MachineError` where the template's record is gone.
    """
    try:
        log = machine.boot_trace.read_bytes() if machine.boot_trace is not None else b""
    except OSError as error:
        raise MachineError(f"what the boot executed cannot be read: {error}") from error
    return _placed(machine, log)


def _placed(machine: Machine, log: bytes) -> Executed:
    addresses = parse_trace(log)
    inside = {address for address in addresses if MODULES[0] <= address < MODULES[1]}
    if not _explained(machine, inside):
        note_module(machine)  # else there is nothing to ask for, and that takes its time
    return _executed(machine, addresses)


def _explained(machine: Machine, inside: Iterable[int]) -> bool:
    """Whether all addresses where modules are loaded are the driver's, where it is known to be."""
    driver = machine.config.images.module
    functions = module_functions(driver) if driver is not None else {}
    places = [
        (base + functions[section].starts[0], base + max(functions[section].ends))
        for section, base in machine.module_sections.items()
        if section in functions
    ]
    return all(any(start <= address < end for start, end in places) for address in inside)


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


def _executed(machine: Machine, addresses: frozenset[int]) -> Executed:
    names = frozenset[str]()
    if EVERY_FUNCTION in machine.config.trace:
        names = _functions(machine, addresses)
    return Executed(_lines(machine, addresses), names)


def _functions(machine: Machine, addresses: frozenset[int]) -> frozenset[str]:
    found = set(kernel_functions(machine.config.images).at(addresses))
    inside = [address for address in addresses if MODULES[0] <= address < MODULES[1]]
    driver = machine.config.images.module
    if inside and driver is not None:
        functions = module_functions(driver)
        for section, base in machine.module_sections.items():
            if section in functions:
                found |= {in_driver(n) for n in functions[section].moved(base).at(inside)}
        if not machine.module_sections:
            found.add(UNPLACED)
    return frozenset(found)


def in_driver(function: str) -> str:
    """The name of a function of the driver, which may be one of the kernel's too."""
    return f"{DRIVER}:{function}"


def _lines(machine: Machine, found: frozenset[int]) -> Lines:
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
