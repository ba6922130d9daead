# SPDX-License-Identifier: MIT
"""The layouts that the suite boots. To add one, add a row; ``tests/cma/test_layouts.py``
does the rest.

Commits are of Linux: what once broke there.
"""

from __future__ import annotations

from harness.memory.ranges import AddressRange

from .model import MIB, Area, KnownFailure, Layout, window

DEFAULT = Area("linux,cma", windows=window(0x69000000, 8 * MIB), default=True)
BISCUITOS = Area("BiscuitOS_cma", windows=window(0x69800000, 8 * MIB))


REMAPPED_TWICE = (
    "two entries of dma_mmu_remap[] overlap: dma_contiguous_remap() faults, and the kernel dies"
    " before it can say so"
)

NOTED_BEHIND = KnownFailure(
    (6, 12),
    "dma_contiguous_early_fixup() notes it behind the end of dma_mmu_remap[]",
    dies=False,
    warns=True,
    needs="ubsan",
)


def _row(start: int, count: int, size: int = 4 * MIB) -> tuple[Area, ...]:
    """`count` static areas side by side."""
    return tuple(Area(f"row{n}", size, at=start + n * size) for n in range(count))


def _region(name: str, at: int, size: int = 8 * MIB) -> Area:
    """Reserved memory that is no CMA area."""
    return Area(name, size, at=at, reusable=False, compatible="")


GOOD = (
    Layout("biscuitos", "as the article has it", (DEFAULT, BISCUITOS)),
    Layout(
        "swapped-nodes", "the order of the nodes says nothing of the place", (BISCUITOS, DEFAULT)
    ),
    Layout(
        "article-61",
        "the sibling article: 8 MiB at 0x61000000",
        (DEFAULT, Area("BiscuitOS_cma", windows=window(0x61000000, 8 * MIB))),
    ),
    Layout(
        "article-32m",
        "the sibling article: 32 MiB",
        (DEFAULT, Area("BiscuitOS_cma", 32 * MIB, window(0x69800000, 32 * MIB))),
    ),
    Layout(
        "three",
        "a third area between two",
        (
            DEFAULT,
            Area("middle", 4 * MIB, window(0x69800000, 4 * MIB)),
            Area("BiscuitOS_cma", windows=window(0x69C00000, 8 * MIB)),
        ),
    ),
    Layout(
        "seven",
        "as many as CONFIG_CMA_AREAS of 6.1 has by default",
        (DEFAULT, BISCUITOS, *_row(0x70000000, 5)),
    ),
    Layout(
        "static-default",
        "a static default area",
        (Area("linux,cma", at=0x69000000, default=True), BISCUITOS),
        append="cma=0",
    ),
    Layout(
        "two-tuples",
        "a reg of two ranges: only the first becomes an area (81dfedd5234b)",
        (
            DEFAULT,
            Area("BiscuitOS_cma", at=0x6A000000, more=window(0x6B000000, 4 * MIB)),
        ),
    ),
    Layout(
        "wide-window-next-door",
        "a wide window that starts at a neighbour: from 6.6 on next to it",
        (DEFAULT, Area("BiscuitOS_cma", windows=window(0x69800000, 64 * MIB))),
    ),
    Layout(
        "wide-windows-before-a-neighbour",
        "a wide window that ends at a neighbour is filled from there, and so is one between two",
        (
            DEFAULT,
            Area("BiscuitOS_cma", windows=window(0x65000000, 64 * MIB)),
            Area("upper", windows=window(0x70000000, 8 * MIB)),
            Area("between", windows=(AddressRange(0x69800000, 0x70000000),)),
        ),
    ),
    Layout(
        "windows",
        "a wide window: its highest place; of two windows the one that is large enough; an"
        " alignment of one cell (75f1f311d883): 16 MiB in a window that starts at 4 MiB more",
        (
            DEFAULT,
            Area("wide", windows=window(0x74000000, 64 * MIB)),
            Area(
                "BiscuitOS_cma",
                windows=(
                    AddressRange(0x6A000000, 0x6A400000),
                    AddressRange(0x6C000000, 0x6C800000),
                ),
            ),
            Area("aligned", windows=window(0x72400000, 0x02000000), alignment=16 * MIB),
        ),
    ),
    Layout(
        "edges",
        "the first 4 MiB behind the kernel's image, the last 8 MiB of RAM",
        (
            DEFAULT,
            Area("first", 4 * MIB, at=0x60C00000),
            Area("BiscuitOS_cma", windows=window(0x7F800000, 8 * MIB)),
        ),
    ),
    Layout("anywhere", "no window: the top of RAM", (DEFAULT, Area("BiscuitOS_cma", 16 * MIB))),
    Layout(
        "ram-256",
        "256 MiB of RAM, an area at its end",
        (DEFAULT, Area("BiscuitOS_cma", windows=window(0x6F800000, 8 * MIB))),
        memory_mib=256,
    ),
    Layout(
        "ram-1024",
        "1 GiB of RAM, an area at its end",
        (DEFAULT, Area("BiscuitOS_cma", windows=window(0x9F800000, 8 * MIB))),
        memory_mib=1024,
    ),
    Layout(
        "half-of-ram",
        "256 of 512 MiB",
        (DEFAULT, Area("BiscuitOS_cma", 256 * MIB, window(0x70000000, 256 * MIB))),
    ),
    Layout(
        "highmem",
        "areas in high memory (d883c6cf3b39)",
        (DEFAULT, BISCUITOS),
        # Low memory ends below the areas, and above the initramfs, which QEMU puts at 128 MiB.
        append="vmalloc=1892M",
    ),
    Layout(
        "highmem-above-low",
        "one area in low memory, one in high memory",
        (
            Area("linux,cma", windows=window(0x64000000, 8 * MIB), default=True),
            Area("BiscuitOS_cma", windows=window(0x78000000, 8 * MIB)),
        ),
        append="vmalloc=1700M",
        memory_mib=512,
    ),
    Layout(
        "names",
        "names with a unit address, a comma, of 31 characters (18e98e56f440)",
        (
            DEFAULT,
            Area("BiscuitOS_cma@6a000000", at=0x6A000000),
            Area("a-name-of-just-31-characters,ok", 4 * MIB, at=0x6B000000),
            Area("BiscuitOS_cma", 4 * MIB, at=0x6C000000),
            Area("BiscuitOS_cm", 4 * MIB, at=0x6D000000),
        ),
    ),
    Layout(
        "many-nodes",
        "60 reserved regions that are no CMA areas",
        (
            DEFAULT,
            BISCUITOS,
            *(Area(f"region{n}", 4096, reusable=False, compatible="") for n in range(58)),
        ),
    ),
    Layout(
        "overlapping-regions",
        "reserved regions that share memory with each other and with an area: warned of, no more;"
        " the nodes are not in the order of their places",
        (
            DEFAULT,
            _region("upper", 0x6E400000),
            _region("apart", 0x70000000),
            Area("BiscuitOS_cma", at=0x6A000000),
            _region("lower", 0x6E000000),
            _region("inside", 0x6A400000, MIB),
            _region("beside", 0x6EC00000),
            _region("as-low", 0x6E000000, 4 * MIB),
        ),
        known=(
            KnownFailure(
                (5, 0),
                "__rmem_cmp() tells regions of one base not apart: which overlaps which depends on"
                " the order of the nodes",
                until=(5, 4),
                dies=False,
            ),
        ),
    ),
    Layout(
        "no-default",
        "no default area in the tree: Kbuild makes one (CONFIG_CMA_SIZE_MBYTES)",
        (BISCUITOS,),
    ),
    Layout("cmdline", "cma= wins over the tree's default", (DEFAULT, BISCUITOS), append="cma=12M"),
    Layout(
        "cmdline-at",
        "cma=SIZE@BASE",
        (DEFAULT, BISCUITOS),
        append="cma=8M@0x6a000000",
    ),
    Layout(
        "cmdline-range",
        "cma=SIZE@BASE-LIMIT: the highest place in a range whose ends are not aligned",
        (DEFAULT, BISCUITOS),
        append="cma=8M@0x6b100000-0x6d300000",
    ),
    Layout(
        "cmdline-range-as-large",
        "cma=SIZE@BASE-LIMIT as large as the area: there or nowhere",
        (BISCUITOS,),
        append="cma=8M@0x6b000000-0x6b800000",
    ),
    Layout(
        "cmdline-range-past-the-end",
        "a limit behind the end of RAM is that end",
        (BISCUITOS,),
        append="cma=8M@0x70000000-0xa0000000",
    ),
    Layout(
        "cmdline-highmem",
        "cma= where there is high memory: the top of that",
        (BISCUITOS,),
        append="cma=8M vmalloc=1832M",
    ),
    Layout(
        "cmdline-range-over-the-border",
        "cma=SIZE@BASE-LIMIT over the border of low memory: above it",
        (BISCUITOS,),
        append="cma=8M@0x6a000000-0x6e000000 vmalloc=1832M",
    ),
    Layout(
        "cmdline-range-less-above-the-border",
        "cma=SIZE@BASE-LIMIT with too little room above the border of low memory: below it",
        (BISCUITOS,),
        append="cma=24M@0x6a000000-0x6d000000 vmalloc=1832M",
    ),
    Layout(
        "cmdline-without-a-value",
        "cma without a size: said, and passed over",
        (DEFAULT, BISCUITOS),
        append="cma",
    ),
    Layout(
        "not-aligned-by-luck",
        "the highest place is no multiple of 4 MiB: in RAM, in a window, for cma=",
        (
            _region("top", 0x7FF00000, MIB),
            Area("BiscuitOS_cma", windows=window(0x6B100000, 14 * MIB)),
            Area("anywhere", 16 * MIB),
        ),
        append="cma=8M",
    ),
    Layout(
        "cmdline-in-the-gap",
        "the default area's window is free again where cma= has precedence",
        (DEFAULT, BISCUITOS),
        append="cma=8M@0x69000000",
        known=(
            KnownFailure(
                (6, 12),
                f"the bypassed node has been noted for remapping already: {REMAPPED_TWICE}",
                until=(7, 1),
            ),
        ),
    ),
    Layout("cmdline-none", "cma=0: no default area at all", (DEFAULT, BISCUITOS), append="cma=0"),
    Layout(
        "cmdline-odd-size",
        "cma= is rounded up to 4 MiB",
        (BISCUITOS,),
        append="cma=5M",
        known=(
            KnownFailure(
                (6, 15),
                "cma_declare_contiguous_nid() logs the size that was asked for, 5 MiB, and not that"
                " of the area, which has 8",
                dies=False,
            ),
        ),
    ),
    Layout(
        "kbuild",
        "CONFIG_CMA_SIZE_MBYTES=24; an area that is aligned to less than CONFIG_CMA_ALIGNMENT=12",
        (BISCUITOS, Area("wide", 48 * MIB, at=0x70400000)),
        variant="kbuild",
    ),
)
"""Layouts in which every area must be created, unless the command line bypasses it."""

BAD = (
    Layout(
        "windows-that-cannot-be",
        "a window without RAM, one smaller than the area, a size that is no multiple of 4 MiB",
        (
            DEFAULT,
            BISCUITOS,
            Area("nowhere", windows=window(0x90000000, 8 * MIB)),
            Area("tight", 8 * MIB, window(0x6B000000, 4 * MIB)),
            Area("odd", 6 * MIB, window(0x6C000000, 16 * MIB)),
        ),
    ),
    Layout(
        "nodes-that-cannot-be",
        "a base that is a multiple of 2 MiB only, no size, not reusable, switched off, an"
        " alignment of two cells where the tree has one (75f1f311d883)",
        (
            DEFAULT,
            BISCUITOS,
            Area("odd", at=0x6C200000),
            Area("nothing", 0),
            Area("pool", windows=window(0x6B000000, 8 * MIB), reusable=False),
            Area("off", windows=window(0x6D000000, 8 * MIB), enabled=False),
            Area(
                "cells", windows=window(0x6E000000, 32 * MIB), alignment=8 * MIB, alignment_cells=2
            ),
        ),
        known=(
            KnownFailure(
                (6, 1),
                "a node without a size is given memory of no bytes, of which kmemleak, which has"
                " noted nothing, is then told to look away",
                dies=False,
                warns=True,
                needs="kmemleak",
            ),
        ),
    ),
    Layout(
        "malformed-nodes",
        "a size and a reg with a cell too many; memory that is not even mapped",
        (
            DEFAULT,
            BISCUITOS,
            Area("size", windows=window(0x6B000000, 8 * MIB), malformed="size"),
            Area("reg", at=0x6C000000, malformed="reg"),
            Area("unmapped", windows=window(0x6E000000, 8 * MIB), mapped=False),
        ),
    ),
    Layout(
        "malformed-window",
        "alloc-ranges with a cell too many",
        (
            DEFAULT,
            BISCUITOS,
            Area("lost", malformed="alloc-ranges", windows=window(0x6B000000, 8 * MIB)),
        ),
        known=(
            KnownFailure(
                (7, 2),
                "of_flat_dt_get_addr_size_prop() gives nothing for it, which is taken for a node"
                " without windows: the area is anywhere",
                dies=False,
            ),
        ),
    ),
    Layout(
        "cmdline-range-too-small",
        "cma=SIZE@BASE-LIMIT with less room than the area needs",
        (BISCUITOS,),
        append="cma=8M@0x6b000000-0x6b700000",
    ),
    Layout(
        "overlap",
        "two static areas share 4 MiB",
        (DEFAULT, Area("BiscuitOS_cma", at=0x6A000000), Area("other", at=0x6A400000)),
        known=(KnownFailure((5, 0), f"OVERLAP DETECTED is said, and no more: {REMAPPED_TWICE}"),),
    ),
    Layout(
        "outside-ram",
        "a static area where there is no RAM",
        (DEFAULT, BISCUITOS, Area("nowhere", at=0x90000000)),
        known=(
            KnownFailure(
                (5, 0),
                "cma_init_reserved_mem() takes it, since memblock_reserve() takes anything;"
                " cma_activate_area() then reads page structures that do not exist",
            ),
        ),
    ),
    Layout(
        "misaligned-page",
        "a static base and size that are no multiples of 2 MiB",
        (DEFAULT, BISCUITOS, Area("odd", 0x180000, at=0x6D100000)),
        known=(
            KnownFailure(
                (6, 12),
                "dma_contiguous_early_fixup() comes before the check of the alignment:"
                " dma_contiguous_remap() clears whole page tables, the neighbour's part included",
            ),
        ),
    ),
    Layout(
        "too-many",
        "one area more than there are slots",
        (DEFAULT, BISCUITOS, *_row(0x70000000, 7)),
        known=(NOTED_BEHIND,),
    ),
    Layout(
        "cmdline-too-many",
        "cma= and as many areas as there are slots: who comes last gets none",
        (BISCUITOS, *_row(0x70000000, 7)),
        append="cma=8M",
        known=(NOTED_BEHIND,),
    ),
    Layout(
        "name-clash",
        "an area called as the kernel calls that of the command line",
        (BISCUITOS, Area("reserved", windows=window(0x6B000000, 8 * MIB))),
        append="cma=8M",
        known=(
            KnownFailure(
                (5, 13),
                "cma_sysfs_init() adds both under one name: sysfs says so with a backtrace, and"
                " then no area at all is in sysfs",
                dies=False,
                warns=True,
            ),
        ),
    ),
    Layout(
        "across-the-border",
        "an area in both zones cannot be activated, the next one can (16195ddd4ebc, 3a5139f1c5bb)",
        (
            DEFAULT,
            # On both sides by address, and by the order of the nodes (the board's own come first):
            # in which order static areas are made differs between kernels.
            Area("before", 4 * MIB, at=0x6B000000),
            Area("across", at=0x6C400000),
            Area("BiscuitOS_cma", at=0x74000000),
            Area("behind", 4 * MIB, at=0x76000000),
        ),
        append="vmalloc=1832M",
        known=(
            KnownFailure(
                (5, 0),
                "cma_debugfs reads the bitmap that such an area does not have: whoever opens the"
                " file is killed by the fault",
                until=(5, 4),
                dies=False,
                warns=True,
            ),
            KnownFailure(
                (5, 4),
                "what cannot be activated is nobody's memory, and still counted in CmaTotal",
                until=(5, 15),
                dies=False,
            ),
            KnownFailure(
                (5, 13),
                "cma_debugfs makes files of an area whose spinlock was never made ready, for it was"
                " not activated",
                until=(7, 2),
                dies=False,
                warns=True,
                needs="spinlocks",
            ),
        ),
    ),
    Layout(
        "cmdline-across-the-border",
        "cma=SIZE@BASE over the border of low memory (16195ddd4ebc)",
        (BISCUITOS,),
        append="cma=8M@0x6c400000 vmalloc=1832M",
    ),
    Layout(
        "cmdline-misaligned",
        "cma=SIZE@BASE that cannot be honoured is refused, not moved (c633324e3112)",
        (BISCUITOS,),
        append="cma=8M@0x6b100000",
        known=(
            KnownFailure(
                (5, 0),
                "cma_declare_contiguous() rounds the base up, and says nothing of it",
                until=(5, 3),
                dies=False,
            ),
        ),
    ),
    Layout(
        "cmdline-taken",
        "cma=SIZE@BASE in another area",
        (BISCUITOS,),
        append="cma=8M@0x69800000",
    ),
    Layout("cmdline-too-large", "cma= larger than RAM", (BISCUITOS,), append="cma=600M"),
    Layout(
        "too-many-nodes",
        "more reserved regions than the kernel has room for (64)",
        (
            DEFAULT,
            BISCUITOS,
            *(Area(f"region{n}", 4096, reusable=False, compatible="") for n in range(70)),
        ),
    ),
)
"""Layouts with something that a right kernel refuses; the other areas must not suffer."""

LAYOUTS = GOOD + BAD

MEASURED = (5, 0)
"""The oldest kernel that the table was tried on."""


def layout(name: str) -> Layout:
    """The layout called `name`. Raises `KeyError`."""
    return next(item for item in LAYOUTS if item.name == name)
