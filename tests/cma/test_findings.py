# SPDX-License-Identifier: MIT
"""What kernels do wrong at boot where no log tells: docs/findings.md. The host looks."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.board import RAM_START
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.gdbstub import attached
from harness.machine.machine import Machine

from .layout import Area, Layout, layout_dtb
from .layout.model import MIB, KnownFailure
from .layout.placement import PAGE_OFFSET
from .support import version_of

pytestmark = pytest.mark.every_kernel

ARRIVAL = 60.0
"""Seconds until the kernel builds its page tables; it needs a second, a loaded host ten times that.
"""
ENTRY = 8
"""Bytes of a ``struct dma_contig_early_reserve``: a base and a size."""
BEYOND = KnownFailure(
    (6, 12),
    "dma_contiguous_early_fixup() notes each node before it is known whether there is a slot for"
    " it, and does not look where dma_mmu_remap[] ends",
)


def symbols(images: ImageSet, *names: str) -> dict[str, tuple[int, int]]:
    """Physical address and size of variables and functions; skips where they cannot be known."""
    if images.vmlinux is None:
        pytest.skip("the addresses of this kernel's variables are not known: no vmlinux was given")
    with images.vmlinux.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            pytest.skip(f"{images.vmlinux} has no symbols")
        found = {name: table.get_symbol_by_name(name) for name in names}
    if not all(found.values()):
        pytest.skip(f"this kernel has not all of {', '.join(names)}")
    return {
        name: (entries[0]["st_value"] - PAGE_OFFSET + RAM_START, entries[0]["st_size"])
        for name, entries in found.items()
        if entries
    }


@pytest.mark.parametrize("count", [8, 9, 60])
def test_no_more_areas_are_noted_for_remapping_than_there_is_room_for(
    machine_config: MachineConfig, tmp_path: Path, request: pytest.FixtureRequest, count: int
) -> None:
    images = machine_config.images
    places = symbols(images, "dma_mmu_remap", "dma_mmu_remap_num", "dma_contiguous_remap")
    room = places["dma_mmu_remap"][1] // ENTRY
    if count > room and BEYOND.holds(version_of(images)):
        request.node.add_marker(pytest.mark.xfail(strict=True, reason=BEYOND.cause))
    areas = tuple(Area(f"area{n}", 4 * MIB, at=0x68000000 + n * 4 * MIB) for n in range(count))
    dtb = tmp_path / "many.dtb"
    dtb.write_bytes(layout_dtb(images.dtb.read_bytes(), Layout("many", "", areas)))
    append = f"{machine_config.append} cma=0".strip()
    images = dataclasses.replace(images, dtb=dtb)
    config = dataclasses.replace(machine_config, images=images, append=append)
    with Path(os.devnull).open("w") as nobody, Machine(config, tmp_path, gdb=nobody) as machine:
        machine.start()  # it waits
        with attached(machine) as stub:
            # The first that reads the array comes after the last that writes it.
            address = places["dma_contiguous_remap"][0] - RAM_START + PAGE_OFFSET
            stub.break_at(address)
            stub.resume()
            assert stub.stopped(ARRIVAL) is not None
            noted = int.from_bytes(
                machine.read_physical(places["dma_mmu_remap_num"][0], 4), "little"
            )
            start = places["dma_mmu_remap"][0]
            behind = machine.read_physical(start + room * ENTRY, ENTRY * max(noted - room, 0))
            stub.clear(address)
    assert noted <= room, (
        f"{noted} areas are noted, {room} have room; behind dma_mmu_remap[], at"
        f" {start + room * ENTRY:#x}: {behind.hex(' ', 4)}"
    )
