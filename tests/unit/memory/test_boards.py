# SPDX-License-Identifier: MIT
"""Boards that are not ours, with what their kernels say of their areas."""

from __future__ import annotations

import pytest

from harness.memory import (
    AddressRange,
    AreaNotCreated,
    Coverage,
    DeviceTree,
    MemoryMap,
    Placed,
    parse_dmesg,
    parse_iomem,
    read_command_line,
    read_dtb,
    reconcile,
)
from tests.unit.memory.builders import MIB, Declared, build_dtb

BOOT = "[    0.000000] Booting Linux on physical CPU 0x0\n"


def log(*lines: str, prefix: str = "[    0.000000] ") -> str:
    return "".join(f"{prefix}{line}\n" for line in ("Booting Linux on physical CPU 0x0", *lines))


def placed(tree: DeviceTree, text: str, iomem: str = "", line: str = "") -> MemoryMap:
    names = [node.name for node in tree.cma_nodes]
    witnesses = [tree.reading(), parse_dmesg(text).reading()]
    if iomem:
        witnesses.append(parse_iomem(iomem).reading(lists_cma=False, names=names))
    asked = read_command_line(line)
    return reconcile([*witnesses, *([asked] if asked else [])])


def test_a_board_whose_kernel_has_no_high_memory() -> None:
    areas = [
        Declared("framebuffer", size=16 * MIB, alignment=16 * MIB),
        Declared("jpegbuffer", size=32 * MIB, alignment=16 * MIB),
    ]
    tree = read_dtb(build_dtb(areas, memory=((0x80000000, 0x1C000000),)))
    text = log(
        "Linux version 5.15.50 (user@host) (gcc) #1",
        "Reserved memory: created CMA memory pool at 0x97000000, size 16 MiB",
        "OF: reserved mem: initialized node framebuffer, compatible id shared-dma-pool",
        "Reserved memory: created CMA memory pool at 0x95000000, size 32 MiB",
        "OF: reserved mem: initialized node jpegbuffer, compatible id shared-dma-pool",
        "cma: Reserved 16 MiB at 0x94000000",
        "Ignoring RAM at 0x98000000-0x9c000000",
        "Consider using a HIGHMEM enabled kernel.",
    )
    found = placed(
        tree, text, "80000000-97ffffff : System RAM\n  80008000-80bfffff : Kernel code\n"
    )
    assert [area.name for area in found.areas] == ["reserved", "jpegbuffer", "framebuffer"]
    assert found.area("framebuffer").range == AddressRange(0x97000000, 0x98000000)


def test_a_board_with_memory_beyond_4_gib() -> None:
    name = "dsp-common-memory@81f000000"
    tree = read_dtb(
        build_dtb(
            [Declared(name, reg=((0x81F000000, 16 * MIB),), status="okay")],
            address_cells=2,
            size_cells=2,
            memory=((0x80000000, 0x20000000), (0x800000000, 0x20000000)),
        )
    )
    text = log(
        "Reserved memory: created CMA memory pool at 0x000000081f000000, size 16 MiB",
        f"OF: reserved mem: initialized node {name}, compatible id shared-dma-pool",
        f"OF: reserved mem: 0x000000081f000000..0x000000081fffffff (16384 KiB) map reusable {name}",
        "cma: Reserved 16 MiB at 0x000000081e000000 on node -1",
        prefix="[    0.000000][    T0] ",
    )
    iomem = (
        "80000000-9fffffff : System RAM (boot alias)\n800000000-81fffffff : System RAM\n"
        "  800008000-800dfffff : Kernel code\n"
    )
    found = placed(tree, text, iomem)
    assert [area.name for area in found.areas] == ["reserved", name]
    assert found.area(name).range == AddressRange(0x81F000000, 0x820000000)


def test_reg_wins_over_size() -> None:
    area = Declared("cma", reg=((0x68000000, 128 * MIB),), size=8 * MIB)
    (claim,) = read_dtb(build_dtb([area])).reading().claims
    assert isinstance(claim, Placed)
    assert claim.range == AddressRange(0x68000000, 0x70000000)


@pytest.mark.parametrize("mebibytes", [12, 16, 32])
def test_a_kernel_with_larger_page_blocks(mebibytes: int) -> None:
    tree = read_dtb(build_dtb([Declared("BiscuitOS_cma", size=32 * MIB)]))
    text = log(
        "Linux version 5.10.0 (user@host) (gcc) #1 SMP ARM",
        "Reserved memory: created CMA memory pool at 0x68000000, size 32 MiB",
        "OF: reserved mem: initialized node BiscuitOS_cma, compatible id shared-dma-pool",
        f"cma: Reserved {mebibytes} MiB at 0x7e000000",
    )
    found = placed(tree, text, line="console=ttyAMA0 cma=10M")
    assert found.area("BiscuitOS_cma").range == AddressRange(0x68000000, 0x6A000000)
    assert found.area("reserved").range == AddressRange.from_size(0x7E000000, mebibytes * MIB)


def test_a_log_of_4_1_with_a_node_that_failed() -> None:
    tree = read_dtb(build_dtb([Declared("linux,cma", size=96 * MIB)]))
    text = log(
        "Linux version 4.1.15 (user@host) (gcc) #37 SMP PREEMPT",
        "Reserved memory: failed to allocate memory for node 'linux,cma'",
        "cma: Reserved 96 MiB at 0x8a000000",
        "Kernel command line: console=ttymxc0 cma=96M",
    )
    assert parse_dmesg(text).reading().coverage is Coverage.CREATED
    with pytest.raises(AreaNotCreated, match="failed to allocate"):
        placed(tree, text, line="console=ttymxc0 cma=96M").area("linux,cma")


@pytest.mark.parametrize(
    "line",
    [
        "DI: DI reserved memory: created CMA memory pool at 0x000000007b300000, size 30 MiB",
        "cma: Reserved 16 MiB at 77000000, total cma pages:4096",
        "cma: CMA: reserved 16 MiB at 2f000000",
        "OF: reserved mem: Failed to reserve memory for 'x': -12",
    ],
)
def test_words_of_vendors_are_unknown_and_no_silence(line: str) -> None:
    reading = parse_dmesg(log("Linux version 3.14.29 (user@host)", line)).reading()
    assert reading.coverage is Coverage.SOME
