# SPDX-License-Identifier: MIT
"""What the driver promises. Each test has a machine that nothing has touched."""

from __future__ import annotations

import contextlib

from conftest import Ring

MIB = 1 << 20
AREA = 4 * MIB


def test_the_kernel_has_placed_the_area_where_the_device_tree_says(ring: Ring) -> None:
    area = ring.guest.memory_map().area("ring")
    assert (area.range.start, area.range.size) == (0x69800000, AREA)


def test_memory_comes_from_the_driver_s_own_area(ring: Ring) -> None:
    placement = ring.guest.judge(ring.get(MIB))
    assert (placement.area.name, placement.offset) == ("ring", 0)


def test_a_length_is_rounded_up_to_whole_pages(ring: Ring) -> None:
    assert ring.get(1).size == 4096
    assert ring.get(4097).size == 8192


def test_what_a_program_writes_is_at_the_address_that_it_is_told(ring: Ring) -> None:
    with ring.hold(4096, "written-by-a-program") as place:
        assert ring.guest.read_physical(place.start, 20) == b"written-by-a-program"


def test_programs_have_memory_of_their_own(ring: Ring) -> None:
    with ring.hold(MIB) as one, ring.hold(MIB) as other:
        assert not one.overlaps(other)
        assert ring.used() == 2 * MIB


def test_all_of_the_area_can_be_had_and_not_a_page_more(ring: Ring) -> None:
    with ring.hold(AREA):
        refused = ring.run(4096, check=False)
        assert (refused.status, refused.stderr) == (1, b"ring: RING_GET: Cannot allocate memory\n")


def test_what_is_too_large_is_refused_and_takes_nothing(ring: Ring) -> None:
    assert ring.run(AREA + 4096, check=False).status == 1
    assert ring.used() == 0
    assert ring.get(AREA).size == AREA


def test_a_program_that_is_killed_leaves_nothing(ring: Ring) -> None:
    with contextlib.ExitStack() as held:
        held.enter_context(ring.hold(MIB))
        ring.guest.run("killall -9 ring; wait", check=False)
        assert ring.used() == 0


def test_the_default_area_is_left_alone(ring: Ring) -> None:
    before = ring.guest.allocated("linux,cma")
    with ring.hold(AREA):
        assert ring.guest.allocated("linux,cma") == before


def test_the_module_stays_while_a_program_has_memory_and_goes_afterwards(ring: Ring) -> None:
    with ring.hold(MIB):
        assert ring.guest.run("rmmod ring", check=False).status != 0
    ring.guest.run("rmmod ring")
    assert "ring" not in ring.guest.modules()
    assert ring.used() == 0
