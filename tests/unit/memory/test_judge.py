# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Verdict
from harness.memory import (
    AddressRange,
    AreaNotCreated,
    CannotPlace,
    CmaArea,
    MemoryMap,
    MisplacedAllocation,
    NamedRange,
    OutsideAreas,
    OutsideRam,
    PartlyOutside,
    Placement,
    StraddlesAreas,
    WrongArea,
    judge,
)
from tests.unit.memory.builders import quick

DEFAULT = CmaArea("linux,cma", AddressRange(0x69000000, 0x69800000))
AREA = CmaArea("BiscuitOS_cma", AddressRange(0x69800000, 0x6A000000))
MAP = MemoryMap(
    (DEFAULT, AREA),
    ram=(AddressRange(0x60000000, 0x80000000),),
    kernel=(NamedRange("Kernel code", AddressRange(0x60008000, 0x60700000)),),
)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0x69800000, 0x69900000), (0x69F00000, 0x6A000000), (0x69800000, 0x6A000000)],
)
def test_the_whole_area_up_to_both_ends_is_right(start: int, end: int) -> None:
    placement = judge(AddressRange(start, end), "BiscuitOS_cma", MAP)
    assert placement == Placement(AddressRange(start, end), AREA)
    assert placement.offset == start - 0x69800000


def test_a_placement_is_printed_as_the_run_prints_it() -> None:
    placement = judge(AddressRange(0x69800000, 0x69900000), "BiscuitOS_cma", MAP)
    text = "BiscuitOS_cma 0x69800000-0x69ffffff holds 0x69800000-0x698fffff"
    assert str(placement) == text


@pytest.mark.parametrize(
    ("start", "end", "kind", "message"),
    [
        (
            0x69010000,
            0x69110000,
            WrongArea,
            "0x69010000-0x6910ffff is in linux,cma (0x69000000-0x697fffff), "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 7.9 MiB below it",
        ),
        (
            0x697FF000,
            0x69801000,
            StraddlesAreas,
            "0x697ff000-0x69800fff straddles linux,cma (0x69000000-0x697fffff) with 4 KiB and "
            "BiscuitOS_cma (0x69800000-0x69ffffff) with 4 KiB, "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 4 KiB below it",
        ),
        (
            0x69FFF000,
            0x6A001000,
            PartlyOutside,
            "0x69fff000-0x6a000fff is only partly in BiscuitOS_cma (0x69800000-0x69ffffff) with "
            "4 KiB: 0x6a000000-0x6a000fff is outside, "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 4 KiB above it",
        ),
        (
            0x6A000000,
            0x6A100000,
            OutsideAreas,
            "0x6a000000-0x6a0fffff is in System RAM but in no CMA area, "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 1 MiB above it",
        ),
        (
            0x60100000,
            0x60200000,
            OutsideAreas,
            "0x60100000-0x601fffff is in System RAM but in no CMA area, "
            "over Kernel code (0x60008000-0x606fffff), "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 151 MiB below it",
        ),
        (
            0x80000000,
            0x80100000,
            OutsideRam,
            "0x80000000-0x800fffff is outside RAM (0x60000000-0x7fffffff), "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), 353 MiB above it",
        ),
        (
            0x7FFFF000,
            0x80001000,
            OutsideRam,
            "0x7ffff000-0x80000fff is only partly in RAM (0x60000000-0x7fffffff) and in no CMA "
            "area, expected BiscuitOS_cma (0x69800000-0x69ffffff), 352.004 MiB above it",
        ),
        (
            0x68FFF000,
            0x6A001000,
            StraddlesAreas,
            "0x68fff000-0x6a000fff straddles linux,cma (0x69000000-0x697fffff) with 8 MiB and "
            "BiscuitOS_cma (0x69800000-0x69ffffff) with 8 MiB, "
            "expected BiscuitOS_cma (0x69800000-0x69ffffff), which is smaller (8 MiB)",
        ),
    ],
)
def test_each_wrong_place_is_said_exactly(
    start: int, end: int, kind: type[MisplacedAllocation], message: str
) -> None:
    allocation = AddressRange(start, end)
    with pytest.raises(MisplacedAllocation) as caught:
        judge(allocation, "BiscuitOS_cma", MAP)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert caught.value.allocation == allocation
    assert caught.value.expected == AREA
    assert caught.value.found == MAP.overlapping(allocation)
    assert caught.value.verdict is Verdict.PRODUCT


@pytest.mark.parametrize("shift", [-1, 1])
def test_one_byte_over_either_end_is_outside(shift: int) -> None:
    area = AREA.range
    with pytest.raises(MisplacedAllocation) as caught:
        judge(AddressRange(area.start + shift, area.end + shift), "BiscuitOS_cma", MAP)
    assert caught.value.distance == -shift


def test_without_ram_nothing_is_said_of_it() -> None:
    with pytest.raises(OutsideAreas, match="nobody said where RAM is"):
        judge(AddressRange(0, 1), "BiscuitOS_cma", MemoryMap((AREA,)))


def test_an_area_that_is_not_placed_judges_nothing() -> None:
    with pytest.raises(AreaNotCreated):
        judge(AREA.range, "other", MAP)
    rounded = MemoryMap((CmaArea("BiscuitOS_cma", AREA.range, exact=False),))
    with pytest.raises(CannotPlace):
        judge(AREA.range, "BiscuitOS_cma", rounded)


def test_an_area_of_rounded_size_is_called_so() -> None:
    rounded = MemoryMap((CmaArea("reserved", DEFAULT.range, exact=False), AREA))
    with pytest.raises(WrongArea, match=r"is in reserved \(at least 0x69000000-0x697fffff\)"):
        judge(AddressRange(0x69000000, 0x69001000), "BiscuitOS_cma", rounded)


def pages(item: AddressRange) -> set[int]:
    return set(range(item.start, item.end))


@st.composite
def maps(draw: st.DrawFn) -> MemoryMap:
    """Areas cut out of the pages 10 to 60, in RAM from 5 to 50."""
    cuts = sorted(draw(st.sets(st.integers(10, 60), min_size=4, max_size=8)))
    gaps = [AddressRange(a, b) for a, b in itertools.pairwise(cuts)]
    chosen = [gap for gap in gaps if draw(st.booleans())] or gaps[:1]
    areas = tuple(CmaArea(f"area{i}", gap) for i, gap in enumerate(chosen))
    return MemoryMap(areas, ram=(AddressRange(5, 30), AddressRange(30, 50)))


@settings(quick, max_examples=2 * settings().max_examples)
@given(maps(), st.integers(0, 70), st.integers(1, 30), st.data())
def test_judgement_is_that_of_sets_of_pages(
    memory_map: MemoryMap, start: int, size: int, data: st.DataObject
) -> None:
    allocation = AddressRange.from_size(start, size)
    expected = data.draw(st.sampled_from(memory_map.areas))
    mine, ram = pages(allocation), set(range(5, 50))
    touched = [area for area in memory_map.areas if mine & pages(area.range)]
    if mine <= pages(expected.range):
        assert touched == [expected]
        assert judge(allocation, expected.name, memory_map) == Placement(allocation, expected)
        return
    kind: type[MisplacedAllocation]
    if len(touched) > 1:
        kind = StraddlesAreas
    elif touched:
        kind = WrongArea if mine <= pages(touched[0].range) else PartlyOutside
    else:
        # two touching banks are one RAM
        kind = OutsideAreas if mine <= ram else OutsideRam
    with pytest.raises(MisplacedAllocation) as caught:
        judge(allocation, expected.name, memory_map)
    assert type(caught.value) is kind
    assert list(caught.value.found) == touched
