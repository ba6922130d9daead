# SPDX-License-Identifier: MIT
"""The rules by which a right kernel places areas; kernels themselves are asked in tests/qemu."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from harness.memory.ranges import AddressRange
from tests.cma.layout import Area, Boot, ExpectedPlacement, Layout, place
from tests.cma.layout.model import MIB, KnownFailure, window
from tests.cma.layout.placement import command_line, lowmem_end
from tests.cma.layout.table import LAYOUTS

OLD = Boot((6, 1), 0x609BDA08, 2 * MIB)
NEW = Boot((6, 12), 0x609BDA08, 2 * MIB)
NEWER = Boot((7, 3), 0x609BDA08, 2 * MIB)
DEFAULT = Area("linux,cma", windows=window(0x69000000, 8 * MIB), default=True)


def placed(
    *areas: Area, append: str = "", memory_mib: int = 512, boot: Boot = OLD
) -> ExpectedPlacement:
    return place(Layout("test", "", areas, memory_mib, append), boot)


def only(result: ExpectedPlacement, name: str) -> tuple[int, int]:
    return result.areas[name].start, result.areas[name].size


def test_a_window_as_large_as_the_area_is_the_area() -> None:
    assert only(placed(DEFAULT), "linux,cma") == (0x69000000, 8 * MIB)


def test_a_wide_window_is_filled_from_its_top() -> None:
    area = Area("wide", windows=window(0x70000000, 64 * MIB))
    assert only(placed(DEFAULT, area), "wide") == (0x73800000, 8 * MIB)


@pytest.mark.parametrize(("boot", "start"), [(OLD, 0x6D000000), (NEW, 0x69800000)])
def test_next_to_a_neighbour_a_new_kernel_fills_from_the_bottom(boot: Boot, start: int) -> None:
    area = Area("wide", windows=window(0x69800000, 64 * MIB))
    assert only(placed(DEFAULT, area, boot=boot), "wide") == (start, 8 * MIB)


def test_without_a_window_the_top_of_ram_is_taken_and_the_next_below_it() -> None:
    result = placed(DEFAULT, Area("one", 16 * MIB), Area("two", 4 * MIB))
    assert only(result, "one") == (0x7F000000, 16 * MIB)
    assert only(result, "two") == (0x7EC00000, 4 * MIB)


def test_the_second_window_serves_where_the_first_is_too_small() -> None:
    windows = (*window(0x6A000000, 4 * MIB), *window(0x6C000000, 8 * MIB))
    assert only(placed(DEFAULT, Area("a", windows=windows)), "a") == (0x6C000000, 8 * MIB)


@pytest.mark.parametrize(("boot", "free"), [(NEW, False), (NEWER, True)])
def test_a_static_default_that_is_bypassed_takes_memory_on_older_kernels_only(
    boot: Boot, free: bool
) -> None:
    default = Area("linux,cma", at=0x69000000, default=True)
    neighbour = Area("a", windows=window(0x69000000, 8 * MIB))
    result = placed(default, neighbour, append="cma=4M", boot=boot)
    assert ("a" in result.areas) is free
    assert result.refused["linux,cma"] == "the command line has precedence"


def test_a_known_failure_holds_from_a_version_on() -> None:
    known = KnownFailure((6, 12), "x", until=(7, 1))
    held = [
        version for version in ((6, 1), (6, 12), (7, 0), (7, 1), (7, 3)) if known.holds(version)
    ]
    assert held == [(6, 12), (7, 0)]
    assert KnownFailure((6, 12), "x").holds((8, 0))


def test_the_initrd_and_the_kernel_are_not_given_away() -> None:
    result = placed(DEFAULT, Area("a", 8 * MIB, window(0x67C00000, 12 * MIB)))
    assert result.refused["a"] == "there is no room for it"
    assert "b" in placed(DEFAULT, Area("b", 4 * MIB, window(0x60C00000, 4 * MIB))).areas
    assert "c" in placed(DEFAULT, Area("c", 4 * MIB, window(0x60800000, 4 * MIB))).refused


def test_an_alignment_of_its_own_counts() -> None:
    area = Area("a", windows=window(0x72400000, 0x02400000), alignment=16 * MIB)
    assert only(placed(DEFAULT, area), "a") == (0x74000000, 8 * MIB)


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (Area("a", 6 * MIB, window(0x6C000000, 16 * MIB)), "not aligned"),
        (Area("a", at=0x6C200000), "not aligned"),
        (Area("a", 0), "no room"),
        (Area("a", 0, at=0x6C000000), "size is zero"),
        (Area("a", at=0x90000000), "no RAM"),
        (Area("a", at=0x6C000000, reusable=False), "not reusable"),
        (Area("a", alignment=8 * MIB, alignment_cells=2), "cells"),
    ],
)
def test_what_cannot_be_is_refused(area: Area, why: str) -> None:
    result = placed(DEFAULT, area)
    assert why in result.refused["a"]
    assert list(result.areas) == ["linux,cma"]


def test_a_node_that_is_off_or_no_pool_is_not_spoken_of() -> None:
    result = placed(DEFAULT, Area("off", enabled=False), Area("region", compatible=""))
    assert list(result.areas) == ["linux,cma"]
    assert not result.refused


def test_a_kernel_of_larger_blocks_aligns_to_them() -> None:
    """``CONFIG_ARCH_FORCE_MAX_ORDER=14``: 32 MiB."""
    boot = dataclasses.replace(OLD, alignment=32 * MIB)
    wide = Area("wide", 32 * MIB, window(0x70000000, 128 * MIB))
    found = placed(DEFAULT, wide, append="cma=10M", boot=boot)
    assert only(found, "wide") == (0x76000000, 32 * MIB)
    assert only(found, "reserved") == (0x7E000000, 32 * MIB)
    assert found.refused["linux,cma"] == "there is no room for it"
    static = placed(Area("static", 8 * MIB, at=0x6B000000), boot=boot)
    assert static.refused["static"] == "it is not aligned"


def test_the_ninth_area_is_refused() -> None:
    row = tuple(Area(f"r{n}", 4 * MIB, at=0x70000000 + n * 4 * MIB) for n in range(8))
    assert list(placed(DEFAULT, *row).refused) == ["r7"]


@pytest.mark.parametrize(
    ("append", "start"),
    [
        ("cma=8M@0x6b100000-0x6d300000", 0x6C800000),
        ("cma=8M@0x6b000000-0x6b800000", 0x6B000000),
        ("cma=8M@0x70000000-0xa0000000", 0x7F800000),
    ],
)
def test_a_range_is_filled_from_its_top(append: str, start: int) -> None:
    assert only(placed(append=append), "reserved") == (start, 8 * MIB)


@pytest.mark.parametrize("append", ["cma=8M@0x6b000000-0x6b700000", "cma=8M@0x6b100000-0x6b900000"])
def test_a_range_without_room_is_refused(append: str) -> None:
    assert list(placed(append=append).refused) == ["reserved"]


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (Area("a", windows=window(0x6B000000, 8 * MIB), malformed="size"), "its size is malformed"),
        (Area("a", at=0x6C000000, malformed="reg"), "its reg is malformed"),
        (Area("a", windows=window(0x6E000000, 8 * MIB), mapped=False), "it is not reusable"),
    ],
)
def test_a_node_that_is_malformed_is_refused(area: Area, why: str) -> None:
    result = placed(DEFAULT, area)
    assert result.refused["a"] == why
    assert list(result.areas) == ["linux,cma"]


def test_kbuild_gives_a_default_where_the_tree_has_none() -> None:
    result = placed(Area("a", windows=window(0x69800000, 8 * MIB)))
    assert only(result, "reserved") == (0x7F000000, 16 * MIB)
    assert result.default == result.areas["reserved"]
    assert result.total == 24 * MIB


def test_the_command_line_has_precedence_over_the_tree_s_default() -> None:
    result = placed(DEFAULT, append="cma=5M")
    assert only(result, "reserved") == (0x7F800000, 8 * MIB), "rounded up to 4 MiB"
    assert "linux,cma" in result.refused


def test_before_5_10_the_tree_s_default_has_precedence() -> None:
    result = placed(DEFAULT, append="cma=16M", boot=Boot((5, 0), OLD.kernel_end, OLD.initrd_size))
    assert list(result.areas) == ["linux,cma"]
    assert not result.refused


def test_cma_0_makes_no_default_at_all() -> None:
    result = placed(DEFAULT, append="cma=0")
    assert not result.areas
    assert result.default is None


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("cma=8M@0x6a000000", True),
        ("cma=8M@0x6a100000", False),
        ("cma=8M@0x69800000", False),
        ("cma=8M@0x7fc00000", False),
        ("cma=8M@0x6c400000 vmalloc=1832M", False),
    ],
)
def test_a_base_on_the_command_line_is_honoured_or_refused(words: str, made: bool) -> None:
    taken = Area("a", windows=window(0x69800000, 8 * MIB))
    assert ("reserved" in placed(taken, append=words).areas) is made


def test_an_area_in_two_zones_is_not_activated() -> None:
    result = placed(DEFAULT, Area("across", at=0x6C400000), append="vmalloc=1832M")
    assert result.refused["across"] == "it is in two zones"
    assert result.total == 8 * MIB


def test_two_areas_of_one_name_are_neither() -> None:
    result = placed(Area("reserved", windows=window(0x6B000000, 8 * MIB)), append="cma=8M")
    assert "reserved" in result.refused
    assert not result.areas
    assert result.total == 16 * MIB


def test_low_memory_ends_where_vmalloc_begins() -> None:
    assert lowmem_end(Layout("t", "", (), 512)) == 0x80000000
    assert lowmem_end(Layout("t", "", (), 512, "vmalloc=1832M")) == 0x6C800000
    assert lowmem_end(Layout("t", "", (), 256, "vmalloc=1200M")) == 0x70000000


def test_old_kernels_are_asked_for_more_and_put_the_border_at_the_same_place() -> None:
    row = Layout("t", "", (), 512, "cma=8M vmalloc=1832M")
    assert command_line(row, (5, 14)) == row.append
    assert command_line(row, (5, 13)) == "cma=8M vmalloc=1840M"
    assert command_line(Layout("t", "", (), 512, "cma=8M"), (5, 0)) == "cma=8M"


def test_the_table_s_names_are_its_keys() -> None:
    names = [row.name for row in LAYOUTS]
    assert len(set(names)) == len(names)
    assert all(row.about for row in LAYOUTS)


def test_the_layouts_of_high_memory_have_an_area_there() -> None:
    for name in ("highmem", "highmem-above-low"):
        row = next(row for row in LAYOUTS if row.name == name)
        areas = place(row, OLD).areas
        assert areas["BiscuitOS_cma"].start >= lowmem_end(row)
        assert (areas["linux,cma"].start >= lowmem_end(row)) is (name == "highmem")


def test_areas_of_one_layout_never_share_memory() -> None:
    for row in LAYOUTS:
        if row.name == "overlap":
            continue
        for boot in (OLD, NEW):
            ranges: list[AddressRange] = sorted(place(row, boot).areas.values())
            for first, second in itertools.pairwise(ranges):
                assert first.end <= second.start, row.name
