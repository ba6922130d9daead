# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.memory import AddressRange, InvalidRange, human_size, merged
from tests.unit.memory.builders import quick

ranges = st.builds(AddressRange.from_size, st.integers(0, 40), st.integers(1, 20))


def members(item: AddressRange) -> set[int]:
    return set(range(item.start, item.end))


def test_prints_the_last_address_and_keeps_the_end_exclusive() -> None:
    area = AddressRange.from_size(0x69800000, 8 << 20)
    assert str(area) == "0x69800000-0x69ffffff"
    assert (area.end, area.last, area.size) == (0x6A000000, 0x69FFFFFF, 0x800000)
    assert AddressRange.from_inclusive(0x69800000, 0x69FFFFFF) == area


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5), (-1, 5)])
def test_refuses_what_is_no_range(start: int, end: int) -> None:
    with pytest.raises(InvalidRange) as caught:
        AddressRange(start, end)
    assert isinstance(caught.value, HarnessError)
    assert (caught.value.start, caught.value.end) == (start, end)


@quick
@given(ranges, ranges)
def test_set_operations_are_those_of_sets_of_addresses(a: AddressRange, b: AddressRange) -> None:
    both = members(a) & members(b)
    assert a.overlaps(b) == bool(both)
    shared = a.intersection(b)
    assert (members(shared) if shared else set()) == both
    assert (b in a) == (members(b) <= members(a))
    assert set().union(*map(members, a.without(b))) == members(a) - members(b)
    assert set().union(*map(members, merged([a, b]))) == members(a) | members(b)


@quick
@given(st.lists(ranges))
def test_merged_ranges_neither_overlap_nor_touch(items: list[AddressRange]) -> None:
    result = merged(items)
    assert all(one.end < two.start for one, two in itertools.pairwise(result))
    assert set().union(*map(members, result)) == set().union(*map(members, items))


@quick
@given(ranges, ranges)
def test_the_shift_is_the_least_that_brings_it_inside(a: AddressRange, b: AddressRange) -> None:
    shift = a.shift_into(b)
    if a.size > b.size:
        return
    moved = AddressRange(a.start + shift, a.end + shift)
    assert moved in b
    fits = [s for s in range(-80, 81) if b.start <= a.start + s and a.end + s <= b.end]
    assert abs(shift) == min(map(abs, fits))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (4096, "4 KiB"),
        (8 << 20, "8 MiB"),
        (9 << 19, "4.5 MiB"),
        (0x7F0000, "7.9 MiB"),
        ((8 << 20) - 4096, "7.996 MiB"),
        ((8 << 20) + 1, "8.000001 MiB"),
        (1 << 30, "1 GiB"),
    ],
)
def test_sizes_look_whole_only_when_they_are(size: int, text: str) -> None:
    assert human_size(size) == text


def test_distance_is_said_from_the_target() -> None:
    area = AddressRange(0x69800000, 0x6A000000)
    assert AddressRange(0x69010000, 0x69110000).distance_text(area) == "7.9 MiB below it"
    assert AddressRange(0x6A000000, 0x6A001000).distance_text(area) == "4 KiB above it"
    assert AddressRange(0x697FF000, 0x69800000).distance_text(area) == "4 KiB below it"
