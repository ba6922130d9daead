# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.memory import (
    Absent,
    AddressRange,
    CmaArea,
    MemoryMap,
    NamedRange,
    Unplaced,
    render_bar,
    render_map,
)
from tests.unit.memory.builders import quick

DEFAULT = CmaArea("linux,cma", AddressRange(0x69000000, 0x69800000), ("dmesg", "iomem"))
AREA = CmaArea("BiscuitOS_cma", AddressRange(0x69800000, 0x6A000000), ("device tree", "iomem"))
MAP = MemoryMap(
    (DEFAULT, AREA),
    ram=(AddressRange(0x60000000, 0x80000000),),
    kernel=(NamedRange("Kernel code", AddressRange(0x60008000, 0x60700000)),),
    ram_source="/proc/iomem",
)

GOOD = """\
0x60000000-0x7fffffff   512 MiB  RAM (/proc/iomem)
0x60000000-0x60007fff    32 KiB  ├ other memory
0x60008000-0x606fffff  6.97 MiB  ├ Kernel code
0x60700000-0x68ffffff   137 MiB  ├ other memory
0x69000000-0x697fffff     8 MiB  ├ linux,cma      ▕································▏
0x69800000-0x69ffffff     8 MiB  ├ BiscuitOS_cma  ▕████····························▏ expected
0x69800000-0x698fffff     1 MiB  │ └ allocation   at its start
0x6a000000-0x7fffffff   352 MiB  └ other memory

█ allocated   ▒ partly   · not by this (a bar is 32 equal cells)
linux,cma: dmesg, iomem
BiscuitOS_cma: device tree, iomem"""

WRONG = """\
0x69000000-0x697fffff     8 MiB  |- linux,cma      [+###+...........................]
0x69010000-0x6910ffff     1 MiB  |  `- allocation  64 KiB from its start
0x69800000-0x69ffffff     8 MiB  |- BiscuitOS_cma  [................................] expected"""


def test_the_allocation_is_drawn_in_its_area() -> None:
    allocation = AddressRange(0x69800000, 0x69900000)
    assert render_map(MAP, [allocation], expected="BiscuitOS_cma") == GOOD


def test_an_allocation_in_the_wrong_area_is_drawn_there_in_plain_ascii() -> None:
    text = render_map(
        MAP, [AddressRange(0x69010000, 0x69110000)], expected="BiscuitOS_cma", ascii_only=True
    )
    assert WRONG in text
    assert text.isascii()


def test_parts_outside_any_area_and_outside_ram_have_rows_of_their_own() -> None:
    text = render_map(
        MAP, [AddressRange(0x69F00000, 0x6A100000), AddressRange(0x7FF00000, 0x80100000)]
    )
    rows = [line for line in text.splitlines() if "allocation" in line]
    assert [row.split("  ")[0] for row in rows] == [
        "0x69f00000-0x69ffffff",
        "0x6a000000-0x6a0fffff",
        "0x7ff00000-0x7fffffff",
        "0x80000000-0x800fffff",
    ]
    assert "allocation 1" in rows[0]
    assert "in part" in rows[0]
    assert "allocation 1: in no CMA area" in rows[1]
    assert rows[3].endswith("allocation 2: in no CMA area (outside RAM)")


def test_what_is_not_known_is_said() -> None:
    memory_map = MemoryMap(
        (CmaArea("reserved", DEFAULT.range, ("dmesg",), exact=False),),
        unplaced=(Unplaced("faraway", "not listed by dmesg"),),
        absent=(Absent("debugfs", "not mounted"),),
    )
    text = render_map(memory_map)
    assert "reserved: dmesg, at least: its size is known rounded down only" in text
    assert "not on the map: faraway: not listed by dmesg" in text
    assert "absent: debugfs: not mounted" in text
    assert "outside RAM" not in text  # nobody said where RAM is
    assert render_map(MemoryMap(())) == "(nothing is known of this memory)"


def test_many_allocations_are_counted_not_listed() -> None:
    pages = [AddressRange.from_size(0x69800000 + 4096 * i, 4096) for i in range(20)]
    text = render_map(MAP, pages)
    assert "allocation 8 " in text
    assert "allocation 9 " not in text
    assert "and 12 more allocations" in text


def test_a_small_allocation_is_seen_and_not_enlarged() -> None:
    area = AddressRange(0, 32 << 20)
    assert render_bar(area, [AddressRange(1 << 20, (1 << 20) + 1)], 32)[:3] == "·▒·"


@quick
@given(
    st.integers(1, 100),
    st.lists(
        st.builds(AddressRange.from_size, st.integers(0, 120), st.integers(1, 60)), max_size=4
    ),
    st.integers(1, 40),
)
def test_a_bar_is_true_of_every_byte(
    size: int, allocations: list[AddressRange], cells: int
) -> None:
    area = AddressRange(10, 10 + size)
    taken = {byte for a in allocations for byte in range(a.start, a.end)}
    bar = render_bar(area, allocations, cells, ascii_only=True)
    assert len(bar) == cells
    # a cell of less than a byte is cut from the bytes that it touches
    for index, mark in enumerate(bar):
        first = 10 + index * size // cells
        last = 10 + -(-(index + 1) * size // cells)
        covered = [byte in taken for byte in range(first, last)]
        assert mark == ("#" if all(covered) else "+" if any(covered) else ".")


sizes = st.integers(1, 2**34)


@quick
@given(st.data(), st.booleans())
def test_any_map_fits_the_width_and_shows_every_area(data: st.DataObject, ascii_only: bool) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, 2**36), min_size=2, max_size=9)))
    places = [AddressRange(a, b) for a, b in itertools.pairwise(cuts)]
    areas = tuple(
        CmaArea(data.draw(st.text("abc,_@0", min_size=1, max_size=63)), place, ("iomem",))
        for place in places
        if data.draw(st.booleans())
    )
    ram = data.draw(st.lists(st.builds(AddressRange.from_size, sizes, sizes), max_size=3))
    allocations = data.draw(st.lists(st.builds(AddressRange.from_size, sizes, sizes), max_size=3))
    memory_map = MemoryMap(areas, tuple(ram), ram_source="/proc/iomem")
    lines = render_map(memory_map, allocations, ascii_only=ascii_only).splitlines()
    assert all(len(line) <= 100 for line in lines)
    for area in areas:
        assert any(line.startswith(str(area.range)) for line in lines)
    # every byte of an allocation is on some row of its own
    rows = [line.split(" ")[0] for line in lines if "allocation" in line and line.startswith("0x")]
    shown = [tuple(int(end, 16) for end in row.split("-")) for row in rows]
    for allocation in allocations:
        edges = {allocation.start, allocation.last}
        assert all(any(a <= edge <= b for a, b in shown) for edge in edges)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_map_is_cut_visibly(width: int) -> None:
    lines = render_map(MAP, [AddressRange(0x69800000, 0x69900000)], width=width).splitlines()
    assert max(map(len, lines)) <= width
