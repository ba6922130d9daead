# SPDX-License-Identifier: MIT
"""Proof by contents: the host reads and writes guest RAM past the guest, at the addresses that the
driver names.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest

from harness.board import RAM_START
from harness.guest.application import AppScript, pattern
from harness.guest.guest import DEVICE, Guest
from harness.machine.config import MachineConfig
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.boots import Boots

from .support import DEFAULT_WHOLE, MIB, PAGE, WHOLE, needs_no_display, pages, version_of

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.machine("loaded"),
    pytest.mark.needs("two-areas", "app-script", "agent"),
]

SMALL = 192
"""MiB of RAM that hold both areas and are quick to search."""
DIRT = b"\xa5"
TAKES_INIT_ON_ALLOC = 5, 11
"""Older ones that know the word set a static key before there are any."""


def nonce() -> int:
    """A number that is nowhere in the guest by chance."""
    return random.SystemRandom().getrandbits(64)


def page_of(region: AddressRange, first: int, count: int = 1) -> AddressRange:
    """Pages of a region, counted from its start."""
    return AddressRange.from_size(region.start + first * PAGE, count * PAGE)


def contents(guest: Guest, place: AddressRange) -> bytes:
    """What the host sees there."""
    return guest.read_physical(place.start, place.size)


def assert_same(found: bytes, expected: bytes, start: int) -> None:
    """As ``assert found == expected``, with the first address that differs and not 8 MiB of it."""
    if found == expected:
        return
    assert len(found) == len(expected)
    at = next(at for at in range(len(found)) if found[at] != expected[at])
    seen, wanted = found[at : at + 16].hex(), expected[at : at + 16].hex()
    pytest.fail(f"at {start + at:#x} is {seen}, and not {wanted}")


def assert_filled(guest: Guest, regions: dict[int, AddressRange]) -> None:
    """The host sees each nonce's pattern, from the first byte of its region to the last."""
    for number, region in regions.items():
        assert_same(contents(guest, region), pattern(number, region.size), region.start)


def fill_each(app: AppScript, regions: Sequence[AddressRange]) -> dict[int, AddressRange]:
    """Gives each region a pattern of its own; nonce → region."""
    numbered = {nonce(): region for region in regions}
    for number, region in numbered.items():
        app.fill(number, region)
    return numbered


class TestReading:
    def test_all_that_is_written_is_at_the_address_whatever_the_size(self, guest: Guest) -> None:
        sizes = (PAGE, 3 * PAGE, 64 << 10, MIB, 2 * MIB + PAGE)
        with guest.script() as app:
            assert_filled(guest, fill_each(app, [app.alloc(size) for size in sizes]))

    def test_the_whole_area_can_be_filled(self, guest: Guest) -> None:
        with guest.script() as app:
            assert_filled(guest, fill_each(app, [app.alloc(WHOLE.size)]))

    def test_what_is_written_is_there_and_nowhere_else_in_ram(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        config = dataclasses.replace(machine_config, memory_mib=SMALL)
        guest = boots.clone(config, "loaded", lambda machine: Guest(machine).insmod())
        with guest.script() as app:
            region = app.alloc(MIB)
            (number,) = fill_each(app, [region])
            ram = guest.read_physical(RAM_START, SMALL * MIB)
        written = pattern(number, MIB)
        at = region.start - RAM_START
        assert_same(ram[at : at + MIB], written, region.start)
        words = {written[word : word + 8] for word in range(0, MIB, 8)}
        starts = range(0, len(ram), PAGE)
        assert {start for start in starts if ram[start : start + 8] in words} == set(
            range(at, at + MIB, PAGE)
        )
        # At any alignment. Of the pattern's first and last words the application may have copies.
        for word in (MIB // 4, MIB // 2):
            assert ram.count(written[word : word + 8]) == 1

    def test_processes_with_adjacent_regions_do_not_disturb_each_other(self, guest: Guest) -> None:
        with guest.script() as one, guest.script() as two:
            owners = [one, two, one, two]
            regions = [app.alloc(64 << 10) for app in owners]
            assert [region.start for region in regions[1:]] == [r.end for r in regions[:-1]]
            first, second = fill_each(one, regions[::2]), fill_each(two, regions[1::2])
            assert_filled(guest, first | second)
            again = fill_each(two, regions[1::2])
            assert_filled(guest, first | again)
            for number, region in first.items():
                one.check(number, region)
            for number, region in again.items():
                two.check(number, region)


class TestWriting:
    def test_what_the_host_writes_the_application_reads(self, guest: Guest) -> None:
        with guest.script() as app:
            for size in (PAGE, MIB + 3 * PAGE):
                region, number = app.alloc(size), nonce()
                guest.machine.write_physical(region.start, pattern(number, region.size))
                app.check(number, region)

    def test_both_see_the_same_through_a_mapping_that_stays(self, guest: Guest) -> None:
        with guest.script() as app:
            region = app.alloc(4 * PAGE)
            app.mmap(region)
            for _ in range(2):
                mine, theirs = nonce(), nonce()
                app.fill(mine, region)
                assert_filled(guest, {mine: region})
                guest.machine.write_physical(region.start, pattern(theirs, region.size))
                app.check(theirs, region)


class TestNeighbours:
    def test_the_pages_beside_a_region_stay_as_they_are(self, guest: Guest) -> None:
        around = pages(0, 256)
        region = pages(64, 64)
        with guest.script() as app:
            held = [app.alloc(64 * PAGE) for _ in range(4)]
            assert held[1] == region
            fill_each(app, [held[0], held[2], held[3]])
            before = contents(guest, around)
            (number,) = fill_each(app, [region])
            after = contents(guest, around)
        start, end = region.start - around.start, region.end - around.start
        expected = before[:start] + pattern(number, region.size) + before[end:]
        assert_same(after, expected, around.start)

    def test_the_pages_beyond_the_area_stay_as_they_are(self, guest: Guest) -> None:
        below = AddressRange(WHOLE.start - 16 * PAGE, WHOLE.start)
        above = AddressRange(WHOLE.end, WHOLE.end + 16 * PAGE)
        with guest.script() as app:
            app.alloc(PAGE)  # so that what it takes to start is over
            app.release(pages(0))
            guest.machine.write_physical(below.start, DIRT * below.size)  # free: nobody's
            before = {place: contents(guest, place) for place in (below, above)}
            assert app.alloc(WHOLE.size) == WHOLE
            fill_each(app, [WHOLE])
            for place, data in before.items():
                assert_same(contents(guest, place), data, place.start)

    def test_what_one_area_is_filled_with_stops_at_the_common_border(self, guest: Guest) -> None:
        needs_no_display(guest)
        guest.rmmod()
        guest.insmod("area=BiscuitOS_cma:default")
        with guest.script() as ours, guest.script(f"{DEVICE}1") as default:
            last = default.alloc(7 * MIB)
            assert last.end == DEFAULT_WHOLE.end == WHOLE.start
            first = ours.alloc(MIB)
            assert first.start == WHOLE.start
            mine, theirs = fill_each(ours, [first]), fill_each(default, [last])
            assert_filled(guest, mine | theirs)
            assert_filled(guest, theirs | fill_each(ours, [first]))


class TestZeroed:
    """Free memory has no owner, so the host may dirty it."""

    @pytest.mark.parametrize("count", [1, 3, 256, 257])
    def test_all_of_a_new_region_is_zero_and_nothing_beside_it_is_touched(
        self, guest: Guest, count: int
    ) -> None:
        guest.machine.write_physical(WHOLE.start, DIRT * WHOLE.size)
        with guest.script() as app:
            first = app.alloc(PAGE)  # so that there is something before it
            region = app.alloc(count * PAGE)
            area = contents(guest, WHOLE)
        start, end = region.start - WHOLE.start, region.end - WHOLE.start
        expected = bytes(first.size) + DIRT * (start - first.size)
        expected += bytes(region.size) + DIRT * (len(area) - end)
        assert_same(area, expected, WHOLE.start)

    def test_what_one_process_leaves_the_next_does_not_get(self, guest: Guest) -> None:
        with guest.script() as one:
            region = one.alloc(WHOLE.size)
            fill_each(one, [region])
        with guest.script() as two:
            assert two.alloc(WHOLE.size) == region
            assert_same(contents(guest, region), bytes(region.size), region.start)

    def test_a_region_that_is_refused_is_not_written_to(self, guest: Guest) -> None:
        with guest.script() as app:
            held = fill_each(app, [app.alloc(MIB)])
            assert app.error(f"alloc {WHOLE.size}") == "ENOMEM"
            assert_filled(guest, held)


class TestPartOfARegion:
    @pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 1), (1, 2), (3, 1)])
    def test_a_mapping_at_an_offset_is_that_part_of_it(
        self, guest: Guest, first: int, count: int
    ) -> None:
        with guest.script() as app:
            app.alloc(PAGE)  # so that the region does not start where the area does
            region = app.alloc(4 * PAGE)
            base = pattern(nonce(), region.size)
            guest.machine.write_physical(region.start, base)
            part = page_of(region, first, count)
            app.mmap(part)
            start, end = part.start - region.start, part.end - region.start
            assert app.read(part.start, 64) == base[start : start + 64]
            assert app.read(part.end - 64, 64) == base[end - 64 : end]
            (number,) = fill_each(app, [part])
            changed = contents(guest, region)
        expected = base[:start] + pattern(number, part.size) + base[end:]
        assert_same(changed, expected, region.start)


@pytest.mark.machine("loaded", append="init_on_alloc=1")
def test_pages_that_are_given_back_are_in_the_state_of_free_pages(
    machine_config: MachineConfig, request: pytest.FixtureRequest
) -> None:
    """f4355d6bb39f: with these words on its command line any kernel looks at each page that is
    freed or given out, and says "Bad page state" of one that somebody still refers to.
    """
    if version_of(machine_config.images) < TAKES_INIT_ON_ALLOC:
        pytest.skip("needs Linux 5.11 or later: an older one warns of its own init_on_alloc=")
    guest: Guest = request.getfixturevalue("guest")
    for size in (PAGE, MIB, WHOLE.size):
        with guest.script() as app:
            app.release(app.alloc(size))
            app.alloc(size)
