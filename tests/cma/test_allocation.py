# SPDX-License-Identifier: MIT
"""Which pages an allocation gets, when there are none, and what the kernel counts of it."""

from __future__ import annotations

import random

import pytest

from harness.explore.firstfit import FirstFit
from harness.guest.guest import AREA, Guest
from harness.machine.errors import CommandFailed
from harness.memory.ranges import AddressRange

from .support import (
    BASE,
    LONG,
    MIB,
    PAGE,
    PAGES,
    SLUB_DEBUG,
    WHOLE,
    alloc_many,
    allocated,
    answered_range,
    assert_all_is_free,
    assert_calls,
    assert_held,
    counted,
    error_name,
    log_lines,
    no_growth,
    pages,
    release_many,
    taken,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("two-areas"),
    pytest.mark.machine("loaded"),
]


@pytest.mark.needs("app-script")
class TestPlace:
    @pytest.mark.needs("debugfs")
    def test_a_region_of_any_size_is_at_the_start_and_not_a_page_more(self, guest: Guest) -> None:
        with guest.script() as app:
            for count in (1, 2, 3, 31, 32, 33, 255, 256, 257, 1024, 2047, 2048):
                region = app.alloc(count * PAGE)
                assert region == pages(0, count)
                assert allocated(guest) == (region,)
                app.release(region)
                assert allocated(guest) == ()

    @pytest.mark.needs("debugfs")
    def test_the_whole_area_is_usable_from_its_first_byte_to_its_last(self, guest: Guest) -> None:
        nonce, word = 0x1122334455667788, 0x9E3779B97F4A7C15
        before = guest.cma().allocated("linux,cma")
        with guest.script() as app:
            assert app.alloc(WHOLE.size) == WHOLE
            app.mmap(WHOLE)
            app.fill(nonce, WHOLE)
            app.check(nonce, WHOLE)
            ends = [guest.read_physical(at, 8) for at in (WHOLE.start, WHOLE.end - 8)]
            assert app.error(f"alloc {PAGE}") == "ENOMEM"
            assert guest.cma().allocated("linux,cma") == before
        last = (nonce + (WHOLE.size // 8 - 1) * word) % (1 << 64)
        assert [int.from_bytes(end, "little") for end in ends] == [nonce, last]

    def test_alignment_is_the_order_of_the_length_up_to_1_mib(self, guest: Guest) -> None:
        """The page at the start is taken: an aligned region has to leave a gap behind it."""
        counts = [1 << order for order in range(11)] + [3, 5, 9, 127, 129, 257, 700, 1025, 1792]
        with guest.script() as app:
            assert app.alloc(PAGE) == pages(0)
            places = []
            for count in counts:
                region = app.alloc(count * PAGE)
                app.release(region)
                places.append(region)
        # Order:  0  1  2  3   4   5   6    7    8    9   10
        starts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 4, 8, 16, 128, *[256] * 5]
        assert places == [pages(at, count) for at, count in zip(starts, counts, strict=True)]

    def test_a_region_longer_than_what_is_left_beyond_its_alignment_is_refused(
        self, guest: Guest
    ) -> None:
        """7.004 MiB fit behind the first page, were it not for the alignment to 1 MiB."""
        with guest.script() as app:
            app.alloc(PAGE)
            assert app.error(f"alloc {1793 * PAGE}") == "ENOMEM"
            assert app.alloc(1792 * PAGE) == AddressRange(BASE + MIB, WHOLE.end)

    @pytest.mark.needs("debugfs")
    def test_the_first_hole_that_is_large_enough_is_taken(self, guest: Guest) -> None:
        with guest.script() as app:
            regions = alloc_many(app, [PAGE] * 12)
            assert regions == [pages(number) for number in range(12)]
            release_many(app, [pages(2), pages(4), pages(5), pages(8)])
            assert app.alloc(2 * PAGE) == pages(4, 2)
            assert app.alloc(PAGE) == pages(2)
            assert app.alloc(PAGE) == pages(8)
            assert app.alloc(PAGE) == pages(12)
            assert_held(guest, [pages(0, 13)])

    @pytest.mark.needs("debugfs")
    def test_a_release_between_neighbours_frees_that_region_alone(self, guest: Guest) -> None:
        with guest.script() as app:
            regions = alloc_many(app, [PAGE, 2 * PAGE, MIB, PAGE, 3 * MIB])
            assert regions == [pages(0), pages(2, 2), pages(256, 256), pages(1), pages(512, 768)]
            for region in (regions[2], regions[0], regions[4], regions[1], regions[3]):
                app.release(region)
                regions.remove(region)
                assert_held(guest, regions)

    @pytest.mark.needs("debugfs")
    def test_every_address_of_a_random_sequence_is_as_first_fit_predicts(
        self, guest: Guest
    ) -> None:
        commands, expected, model = random_steps(1, 300)
        with guest.script() as app:
            answers = app.ask(commands, LONG)
            said = [
                str(answered_range(line)) if line.startswith("ok 0x") else error_name(line)
                for line in answers
            ]
            assert said == expected
            assert allocated(guest) == taken(model)
        assert_all_is_free(guest)


def random_steps(seed: int, count: int) -> tuple[list[str], list[str], FirstFit]:
    """Commands, what each must be answered, and what is held then."""
    chance = random.Random(seed)
    model, held = FirstFit(PAGES), list[tuple[int, int]]()
    commands, expected = list[str](), list[str]()
    for _ in range(count):
        if held and chance.random() < 0.4:
            first, length = held.pop(chance.randrange(len(held)))
            model.release(first, length)
            commands.append(f"release {pages(first).start} {length * PAGE}")
            expected.append("ok")
            continue
        length = chance.randint(1, 1 << chance.randint(0, 9))
        place = model.alloc(length)
        commands.append(f"alloc {length * PAGE}")
        expected.append("ENOMEM" if place is None else str(pages(place, length)))
        if place is not None:
            held.append((place, length))
    assert "ENOMEM" in expected
    return commands, expected, model


@pytest.mark.needs("app-script")
class TestExhaustion:
    @pytest.mark.needs("debugfs")
    @pytest.mark.needs("driver")
    def test_a_full_area_refuses_without_a_word_and_without_a_leak(self, guest: Guest) -> None:
        default = guest.cma().allocated("linux,cma")
        with guest.script() as app:
            regions = alloc_many(app, [MIB] * 8)
            assert_held(guest, regions)
            lines = log_lines(guest)
            for size in (PAGE, MIB, WHOLE.size):
                answers = app.ask([f"repeat 200 alloc {size}", f"alloc {size}"])
                assert [error_name(line) for line in answers] == ["ENOMEM"] * 2
            assert log_lines(guest) < lines + 5, "a refusal is the caller's affair"
            assert allocated(guest) == (WHOLE,)
            app.release(regions[5])
            assert app.alloc(MIB) == regions[5]
            assert guest.cma().allocated("linux,cma") == default, "no other area helps out"
            release_many(app, regions)
        assert_all_is_free(guest)

    @pytest.mark.needs("debugfs")
    def test_four_mib_in_holes_of_one_hold_no_two_mib(self, guest: Guest) -> None:
        with guest.script() as app:
            regions = alloc_many(app, [MIB] * 8)
            holes = regions[1::2]
            release_many(app, holes)
            state = guest.cma()
            assert state.used(AREA) == 4 * MIB
            assert state.areas[AREA].maxchunk == MIB // PAGE
            for size in (4 * MIB, 2 * MIB, MIB + PAGE):
                assert app.error(f"alloc {size}") == "ENOMEM"
            assert allocated(guest) == tuple(regions[0::2]), "a refusal leaves no mark"
            assert alloc_many(app, [MIB] * 4) == holes
            assert app.error(f"alloc {PAGE}") == "ENOMEM"

    def test_two_neighbouring_holes_are_one(self, guest: Guest) -> None:
        with guest.script() as app:
            regions = alloc_many(app, [MIB] * 8)
            release_many(app, [regions[4], regions[3], regions[7]])
            assert app.error(f"alloc {3 * MIB}") == "ENOMEM"
            assert app.alloc(2 * MIB) == AddressRange(regions[3].start, regions[4].end)
            assert app.alloc(MIB) == regions[7]

    @pytest.mark.needs("debugfs")
    def test_two_pages_are_not_to_be_had_where_every_other_page_is_free(self, guest: Guest) -> None:
        with guest.script() as app:
            assert app.ask([f"repeat {PAGES} alloc {PAGE}"])[0].split()[1] == hex(WHOLE.end - PAGE)
            assert allocated(guest) == (WHOLE,)
            free = range(1, 256, 2)
            release_many(app, [pages(number) for number in free])
            state = guest.cma()
            assert state.areas[AREA].maxchunk == 1
            assert state.used(AREA) == WHOLE.size - len(free) * PAGE
            assert app.error(f"alloc {2 * PAGE}") == "ENOMEM"
            last = app.ask([f"repeat {len(free)} alloc {PAGE}"])[0]
            assert answered_range(last) == pages(free[-1])
            assert allocated(guest) == (WHOLE,)


@pytest.mark.needs("debugfs", "app-script")
class TestCounters:
    def test_used_and_maxchunk_follow_the_bitmap_at_every_level(self, guest: Guest) -> None:
        """`Guest.cma` compares them; words of the bitmap have 32 bits."""
        with guest.script() as app:
            held = 0
            for level in (1, 31, 32, 33, 64, 65, 2016, 2047, 2048):
                app.command(f"repeat {level - held} alloc {PAGE}", LONG)
                held = level
                state = guest.cma()
                assert state.allocated(AREA) == (pages(0, level),)
                assert state.areas[AREA].used == level
                assert state.areas[AREA].maxchunk == PAGES - level

    @pytest.mark.needs("cma-sysfs")
    @pytest.mark.needs("driver")
    def test_vmstat_counts_calls_and_sysfs_counts_pages(self, guest: Guest) -> None:
        before = guest.cma()
        with guest.script() as app:
            kept, given = alloc_many(app, [3 * PAGE, 2 * MIB])
            app.release(given)
            for count in (2048, 1900):
                assert app.error(f"alloc {count * PAGE}") == "ENOMEM"
            # Refused before the allocator is asked.
            assert app.error(f"alloc {WHOLE.size + PAGE}") == "EINVAL"
            assert app.error("alloc 0") == "EINVAL"
            after = guest.cma()
            assert after.allocated(AREA) == (kept,)
        assert_calls(guest, after, before, 2, 2)
        old, new = before.counters[AREA], after.counters[AREA]
        assert new.allocated - old.allocated == 3 + 512
        assert new.failed - old.failed == 2048 + 1900
        if old.released is not None and new.released is not None:
            assert new.released - old.released == 512
        assert after.counters["linux,cma"] == before.counters["linux,cma"]

    def test_cma_total_is_both_areas_and_cma_free_is_what_is_not_allocated(
        self, guest: Guest
    ) -> None:
        """Exact only while all of the area is held: of what was given back the kernel may keep
        some on its per-processor lists, or lend it, and an allocation calls all that in.
        """
        assert guest.cma().meminfo.total == 16 * MIB
        with guest.script() as app:
            for _ in range(2):
                regions = alloc_many(app, [MIB] * 8)
                state = counted(guest)
                assert state.meminfo.free == 8 * MIB - state.used("linux,cma")
                release_many(app, regions)
            app.alloc(WHOLE.size)
            assert counted(guest).meminfo == state.meminfo


@pytest.mark.needs("debugfs")
@pytest.mark.machine("clone")
class TestDebugfs:
    """The kernel's own door to an area: no driver is loaded."""

    def test_alloc_packs_pages_and_free_takes_the_last_ones_back(self, guest: Guest) -> None:
        for count in (3, 5, 256):
            guest.run(f"echo {count} > {guest.debug_dir()}/alloc")
        assert allocated(guest) == (pages(0, 264),), "it asks for no alignment"
        guest.run(f"echo 6 > {guest.debug_dir()}/free")
        assert allocated(guest) == (pages(0, 8), pages(14, 250))
        guest.run(f"echo 250 > {guest.debug_dir()}/free; echo 7 > {guest.debug_dir()}/free")
        assert allocated(guest) == (pages(2),)
        guest.run(f"echo 100 > {guest.debug_dir()}/free")
        assert allocated(guest) == ()
        guest.run(f"echo {PAGES} > {guest.debug_dir()}/alloc")
        assert allocated(guest) == (WHOLE,)
        guest.run(f"echo {PAGES} > {guest.debug_dir()}/free")
        assert allocated(guest) == ()

    def test_an_absurd_count_is_refused_and_changes_nothing(self, guest: Guest) -> None:
        """Kernel commit 6b36ba599d60: a count beyond the area must not wrap around."""
        before = guest.cma().reserved
        word = 1 << 32
        for count in (0, 2049, 1 << 20, word // 2 - 1, word // 2, word - 1, word - 2048):
            with pytest.raises(CommandFailed):
                guest.run(f"echo {count} > {guest.debug_dir()}/alloc")
            assert guest.cma().reserved == before
        guest.run(f"echo {PAGES} > {guest.debug_dir()}/alloc")
        assert allocated(guest) == (WHOLE,)

    @pytest.mark.needs("app-script")
    @pytest.mark.machine("loaded", append=SLUB_DEBUG)
    def test_what_is_given_back_leaves_no_object(self, guest: Guest) -> None:
        loop = "n=50; while [ $((n -= 1)) -ge 0 ]; do echo 4 >alloc; echo 4 >free; done"
        with no_growth(guest, 50):
            guest.run(f"cd {guest.debug_dir()}; {loop}", timeout=LONG)
        assert_all_is_free(guest)

    def test_what_one_door_holds_the_other_does_not_give(self, guest: Guest) -> None:
        guest.insmod()
        guest.run(f"echo 3 > {guest.debug_dir()}/alloc")
        with guest.script() as app:
            assert alloc_many(app, [2 * PAGE, PAGE]) == [pages(4, 2), pages(3)]
            assert app.error(f"release {BASE} {3 * PAGE}") == "EINVAL"
            assert app.error(f"mmap {BASE} {PAGE}") == "EINVAL"
        assert allocated(guest) == (pages(0, 3),)
        guest.run(f"echo 3 > {guest.debug_dir()}/free")
        assert_all_is_free(guest)
