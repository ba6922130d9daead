# SPDX-License-Identifier: MIT
"""``/proc/iomem``: a line per resource, ``start-end : name``, two spaces per level, end inclusive.

Format: r_show() in kernel/resource.c. Stock ARM32 kernels list System RAM and the kernel's code and
data there, and no CMA area; kernels with our patch list each active area below its System RAM.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator

from harness.memory.errors import MalformedIomem, ZeroedIomem
from harness.memory.model import Coverage, NamedRange, Placed, Reading
from harness.memory.ranges import AddressRange, InvalidRange

_LINE = re.compile(r"( *)([0-9a-f]{4,16})-([0-9a-f]{4,16}) : (.*)", re.DOTALL)
_RAM = "System RAM"
_MAX_DEPTH = 5
"""MAX_IORES_LEVEL in kernel/resource.c: what is nested deeper is printed at this depth."""
_KERNEL = frozenset({"Kernel code", "Kernel data", "Kernel bss", "Kernel rodata", "Crash kernel"})


@dataclasses.dataclass(frozen=True)
class Resource:
    """One line and those nested in it. ``line`` counts from 1."""

    name: str
    range: AddressRange
    line: int
    children: tuple[Resource, ...] = ()

    def walk(self) -> Iterator[Resource]:
        """This one and all below it, in the order of the lines."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclasses.dataclass(frozen=True)
class Iomem:
    """The resources of a kernel. Names need not be unique."""

    resources: tuple[Resource, ...]
    source: str = "/proc/iomem"

    def walk(self) -> Iterator[Resource]:
        """All resources, in the order of the lines."""
        for resource in self.resources:
            yield from resource.walk()

    def named(self, name: str) -> tuple[Resource, ...]:
        """All resources of exactly that name, at any depth."""
        return tuple(resource for resource in self.walk() if resource.name == name)

    @property
    def ram(self) -> tuple[AddressRange, ...]:
        """The banks of System RAM."""
        return tuple(resource.range for resource in self.named(_RAM))

    @property
    def kernel(self) -> tuple[NamedRange, ...]:
        """The kernel's own code and data."""
        return tuple(NamedRange(r.name, r.range) for r in self.walk() if r.name in _KERNEL)

    def reading(self, *, lists_cma: bool, names: Collection[str] = ()) -> Reading:
        """What it says, as a witness.

        ``lists_cma``: this kernel has the patch that lists CMA areas (the feature ``iomem-cma``),
        so whatever lies directly in System RAM and is not the kernel itself is one. Otherwise
        only lines of the given ``names`` are taken for areas.
        """
        areas = [r for r in self.walk() if r.name in names and r.name not in _KERNEL | {_RAM}]
        if lists_cma:
            for bank in self.named(_RAM):
                inside = (r for r in bank.children if r.name not in _KERNEL)
                areas += [resource for resource in inside if resource not in areas]
        return Reading(
            witness="iomem",
            source=self.source,
            coverage=Coverage.ALL if lists_cma else Coverage.SOME,
            claims=tuple(
                Placed(r.name, r.range, f"{self.source} line {r.line}")
                for r in sorted(areas, key=lambda r: r.line)
            ),
            ram=self.ram,
            kernel=self.kernel,
        )


def parse_iomem(text: str, source: str = "/proc/iomem") -> Iomem:
    """The tree of resources.

    Raises `ZeroedIomem` if every range is 0-0 (the reader lacks CAP_SYS_ADMIN), `MalformedIomem`
    with the number and text of the line for anything that the kernel does not print.
    """
    rows = [_row(line, number, source) for number, line in _lines(text)]
    if not rows:
        raise MalformedIomem(source, "it is empty")
    if all(resource.range == AddressRange(0, 1) for _, resource in rows):
        raise ZeroedIomem(
            source,
            f"all {len(rows)} ranges are 0-0: the reader lacks CAP_SYS_ADMIN, so nothing is known "
            "of the memory; read it as root",
        )
    resources, _ = _nested(rows, 0, 0, source)
    return Iomem(resources, source)


def render_iomem(iomem: Iomem) -> str:
    """The text of a tree as the kernel prints it."""

    def lines(resource: Resource, depth: int) -> Iterator[str]:
        place = f"{resource.range.start:08x}-{resource.range.last:08x}"
        yield f"{'  ' * depth}{place} : {resource.name}\n"
        for child in resource.children:
            yield from lines(child, depth + 1)

    return "".join(line for resource in iomem.resources for line in lines(resource, 0))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.rstrip("\r")
        if stripped.strip():
            yield number, stripped


def _row(line: str, number: int, source: str) -> tuple[int, Resource]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedIomem(source, "not `start-end : name`", line=number, text=line)
    indent, first, last, name = match.groups()
    if len(indent) % 2:
        raise MalformedIomem(source, "an odd indentation", line=number, text=line)
    if len(indent) > 2 * _MAX_DEPTH:
        raise MalformedIomem(source, "nested deeper than a kernel prints", line=number, text=line)
    try:
        place = AddressRange.from_inclusive(int(first, 16), int(last, 16))
    except InvalidRange as error:
        raise MalformedIomem(source, "it ends before it starts", line=number, text=line) from error
    return len(indent) // 2, Resource(name, place, number)


def _nested(
    rows: list[tuple[int, Resource]], at: int, depth: int, source: str
) -> tuple[tuple[Resource, ...], int]:
    """The resources at ``depth`` from row ``at`` on, with their children; and the next row."""
    level: list[Resource] = []
    while at < len(rows) and rows[at][0] >= depth:
        row_depth, resource = rows[at]
        if row_depth > depth:
            raise MalformedIomem(
                source, "indented without a parent", line=resource.line, text=resource.name
            )
        at += 1
        children: tuple[Resource, ...] = ()
        if at < len(rows) and rows[at][0] > depth:
            children, at = _nested(rows, at, depth + 1, source)
        level.append(dataclasses.replace(resource, children=children))
    return tuple(level), at
