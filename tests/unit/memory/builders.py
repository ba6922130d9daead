# SPDX-License-Identifier: MIT
"""What the tests of memory share: captures as the parsers take them, and generated device trees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fdt
from hypothesis import settings

from harness.memory import (
    Absent,
    AddressRange,
    Based,
    Claim,
    Coverage,
    MemoryMap,
    Placed,
    Reading,
    RoundedSize,
    debugfs_reading,
    parse_debugfs,
    parse_dmesg,
    parse_iomem,
    parse_sysfs,
    read_command_line,
    read_dtb,
    read_live_tree,
    sysfs_reading,
)

CAPTURES = Path(__file__).parent / "captures"
MIB = 1 << 20

quick = settings(deadline=None, max_examples=3 * settings().max_examples // 5)


def capture(version: str, name: str) -> str:
    """The text of one capture."""
    return (CAPTURES / version / f"{name}.txt").read_text()


def files_of(text: str) -> dict[str, str]:
    """`path: contents` lines as relative path to contents."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def framed_files(text: str, root: str) -> dict[str, str]:
    """Files shown as `== /absolute/path` and their contents, as relative path below ``root``."""
    blocks = text.split("== " + root + "/")[1:]
    return dict(block.split("\n", 1) for block in blocks)


def live_tree(version: str) -> dict[str, bytes]:
    """The captured `/proc/device-tree` as path to property bytes."""
    pairs = (line.split(":", 1) for line in capture(version, "live-tree").splitlines() if line)
    return {path: bytes.fromhex(digits) for path, digits in pairs}


@dataclasses.dataclass(frozen=True)
class Declared:
    """A reserved-memory node to be generated. Pairs are (base, size)."""

    name: str
    size: int | None = None
    windows: tuple[tuple[int, int], ...] = ()
    reg: tuple[tuple[int, int], ...] = ()
    alignment: int | None = None
    compatible: str = "shared-dma-pool"
    flags: tuple[str, ...] = ("reusable",)
    status: str | None = None


def cells(value: int, count: int) -> list[int]:
    """A number as 32-bit cells, the highest first."""
    return [value >> (32 * index) & 0xFFFFFFFF for index in reversed(range(count))]


def build_dtb(
    areas: list[Declared] | tuple[Declared, ...],
    *,
    address_cells: int = 1,
    size_cells: int = 1,
    memory: tuple[tuple[int, int], ...] = ((0x60000000, 0x20000000),),
    reservations: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """A device tree blob, made by the library ``fdt``, with these areas and banks."""

    def pairs(values: tuple[tuple[int, int], ...]) -> list[int]:
        flat: list[int] = []
        for base, size in values:
            flat += cells(base, address_cells) + cells(size, size_cells)
        return flat

    tree = fdt.FDT(entries=[{"address": base, "size": size} for base, size in reservations])
    counts = (
        fdt.PropWords("#address-cells", address_cells),
        fdt.PropWords("#size-cells", size_cells),
    )
    tree.root.append(counts[0])
    tree.root.append(counts[1])
    bank = fdt.Node("memory@60000000", fdt.PropStrings("device_type", "memory"))
    bank.append(fdt.PropWords("reg", *pairs(memory)))
    tree.root.append(bank)
    reserved = fdt.Node("reserved-memory", fdt.Property("ranges"))
    reserved.append(fdt.PropWords("#address-cells", address_cells))
    reserved.append(fdt.PropWords("#size-cells", size_cells))
    for area in areas:
        node = fdt.Node(area.name, fdt.PropStrings("compatible", area.compatible))
        for flag in area.flags:
            node.append(fdt.Property(flag))
        if area.size is not None:
            node.append(fdt.PropWords("size", *cells(area.size, size_cells)))
        if area.alignment is not None:
            node.append(fdt.PropWords("alignment", *cells(area.alignment, address_cells)))
        if area.windows:
            node.append(fdt.PropWords("alloc-ranges", *pairs(area.windows)))
        if area.reg:
            node.append(fdt.PropWords("reg", *pairs(area.reg)))
        if area.status is not None:
            node.append(fdt.PropStrings("status", area.status))
        reserved.append(node)
    tree.root.append(reserved)
    return bytes(tree.to_dtb(version=17))


BISCUITOS = (
    Declared("vram@4c000000", reg=((0x4C000000, 8 * MIB),), flags=("no-map",)),
    Declared(
        "linux,cma",
        size=8 * MIB,
        windows=((0x69000000, 8 * MIB),),
        flags=("reusable", "linux,cma-default"),
    ),
    Declared("BiscuitOS_cma", size=8 * MIB, windows=((0x69800000, 8 * MIB),)),
)


AREA = AddressRange.from_size(0x69800000, 8 * MIB)
NAMES = ("linux,cma", "BiscuitOS_cma")


def dtb() -> Reading:
    return read_dtb(build_dtb(BISCUITOS), "board.dtb").reading()


def all_witnesses(capture_name: str) -> list[Reading | Absent]:
    def text(name: str) -> str:
        return capture(capture_name, name)

    witnesses: list[Reading | Absent] = [
        read_live_tree(live_tree(capture_name)).reading(),
        parse_dmesg(text("dmesg")).reading(),
        parse_iomem(text("iomem")).reading(lists_cma=True),
        debugfs_reading(parse_debugfs(files_of(text("debugfs")))),
        sysfs_reading(parse_sysfs(files_of(text("sysfs")))),
    ]
    command_line = read_command_line(text("cmdline"))
    return witnesses + ([command_line] if command_line else [])


def places(memory_map: MemoryMap) -> dict[str, str]:
    return {area.name: str(area.range) for area in memory_map.areas}


def observed(*claims: Claim, witness: str = "debugfs", everything: bool = False) -> Reading:
    coverage = Coverage.ALL if everything else Coverage.SOME
    return Reading(witness, f"/sys/{witness}", coverage, claims)


def placed(start: int = 0x69800000, size: int = 8 * MIB, name: str = "BiscuitOS_cma") -> Placed:
    return Placed(name, AddressRange.from_size(start, size), f"/sys/{name}")


def based(start: int = 0x69800000, mebibytes: int = 8, name: str = "BiscuitOS_cma") -> Based:
    return Based(name, start, RoundedSize(mebibytes, MIB), "dmesg line 4")
