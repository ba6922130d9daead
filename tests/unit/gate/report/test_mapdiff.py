# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses

from harness.gate.report.mapdiff import Fate, changed, differences
from harness.gate.result import Area
from tests.unit.gate.report import samples
from tests.unit.gate.report.samples import MIB, RAM, area


def fates(before: tuple[Area, ...], after: tuple[Area, ...]) -> list[tuple[str, str]]:
    result = dataclasses.replace(samples.accepted(), map_before=before, map_after=after)
    return [(item.name, item.text) for item in differences(result)]


def test_each_area_has_its_fate_in_address_order() -> None:
    assert [(item.name, item.fate) for item in differences(samples.rejected())] == [
        ("System RAM", Fate.SAME),
        ("Kernel code", Fate.SAME),
        ("Kernel data", Fate.RESIZED),
        ("linux,cma", Fate.SAME),
        ("BiscuitOS_cma", Fate.MOVED),
        ("first", Fate.RESIZED),
        ("second", Fate.MISSING),
        ("third", Fate.MOVED_AND_RESIZED),
        ("fourth", Fate.NEW),
    ]


def test_the_words_say_how_far_and_by_how_much() -> None:
    old = area("a", 0x69000000, 8 * MIB)
    assert fates((old,), (area("a", 0x68000000, 8 * MIB),)) == [("a", "moved 16 MiB down")]
    assert fates((old,), (area("a", 0x69000000, 4 * MIB),)) == [("a", "resized by -4 MiB")]
    assert fates((old,), (area("a", 0x6A000000, 9 * MIB),)) == [
        ("a", "moved and resized 16 MiB up, +1 MiB")
    ]


def test_an_area_that_gives_way_at_its_start_is_resized() -> None:
    assert fates((area("a", 0x69000000, 8 * MIB),), (area("a", 0x69400000, 4 * MIB),)) == [
        ("a", "resized by -4 MiB")
    ]


def test_an_area_that_is_cma_no_more_is_missing() -> None:
    before, after = area("a", 0x69000000, MIB), area("a", 0x69000000, MIB, cma=False)
    assert fates((before,), (after,)) == [("a", "missing"), ("a", "new")]


def test_of_two_areas_with_one_name_the_equal_ones_belong_together() -> None:
    before = (area("a", 0x68000000, MIB), area("a", 0x69000000, MIB))
    assert fates(before, (before[1],)) == [("a", "missing"), ("a", "unchanged")]


def test_a_map_that_is_not_known_is_compared_with_nothing() -> None:
    assert fates((RAM,), ()) == fates((), (RAM,)) == []
    assert changed(samples.accepted()) == ()
