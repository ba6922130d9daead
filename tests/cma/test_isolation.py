# SPDX-License-Identifier: MIT
"""Two areas, side by side: what happens to one never shows in the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from harness.guest.application import AppScript
from harness.guest.guest import AREA, DEVICE, Guest
from harness.memory.errors import WrongArea
from harness.memory.ranges import AddressRange, merged

from .support import DEFAULT_WHOLE, MIB, PAGE, WHOLE, alloc_many, needs_no_display, pages

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("two-areas"),
]

DEFAULT = "linux,cma"
AREAS = {DEFAULT: DEFAULT_WHOLE, AREA: WHOLE}
OTHER = {DEFAULT: AREA, AREA: DEFAULT}
SECOND = f"{DEVICE}1"
CHUNK = 256 << 10
BORDER = WHOLE.start
EACH_AREA = pytest.mark.parametrize(
    ("parameter", "area"),
    [
        pytest.param(AREA, AREA, id="by-name"),
        pytest.param(DEFAULT, DEFAULT, id="default-by-name"),
        pytest.param("default", DEFAULT, id="default"),
        pytest.param("", DEFAULT, id="empty"),
    ],
)
EACH_ORDER = pytest.mark.parametrize(
    ("parameter", "served"),
    [
        pytest.param(f"{AREA}:default", (AREA, DEFAULT), id="ours-first"),
        pytest.param(f"default:{AREA}", (DEFAULT, AREA), id="default-first"),
        pytest.param(f"{AREA}:", (AREA, DEFAULT), id="empty-second"),
    ],
)


@contextlib.contextmanager
def untouched(guest: Guest, area: str) -> Iterator[None]:
    """The area's bitmap, ``used``, ``maxchunk`` and its counters are the same after the block."""

    def side() -> tuple[object, object]:
        state = guest.cma()
        return state.areas[area], state.counters.get(area)

    before = side()
    yield
    assert side() == before


@contextlib.contextmanager
def one_each(guest: Guest, parameter: str) -> Iterator[tuple[AppScript, AppScript]]:
    """The driver on two areas, and an application on each device."""
    guest.insmod(f"area={parameter}")
    with guest.script(DEVICE) as one, guest.script(SECOND) as two:
        yield one, two


def occupy(guest: Guest, area: str, count: int) -> None:
    """Takes pages by debugfs: the first that are free, with no alignment."""
    guest.run(f"echo {count} > {guest.debug_dir(area)}/alloc")


def vacate(guest: Guest, area: str, count: int) -> None:
    """Gives back what `occupy` took, the last first."""
    guest.run(f"echo {count} > {guest.debug_dir(area)}/free")


def free_pages(guest: Guest, area: str) -> int:
    """How many pages of the area are not allocated."""
    return (AREAS[area].size - guest.cma().used(area)) // PAGE


@pytest.mark.needs("debugfs", "app-script")
class TestOneDevice:
    @pytest.mark.needs("module-areas")
    @EACH_AREA
    def test_an_allocation_shows_in_the_area_of_the_device_and_in_no_other(
        self, guest: Guest, parameter: str, area: str
    ) -> None:
        guest.insmod(f"area={parameter}")
        before = guest.cma()
        with untouched(guest, OTHER[area]), guest.script() as app:
            for size in (PAGE, MIB):
                region = app.alloc(size)
                assert region in AREAS[area]
                held = guest.cma()
                assert held.allocated(area) == merged([*before.allocated(area), region])
                assert held.allocated(OTHER[area]) == before.allocated(OTHER[area])
                app.release(region)
        after = guest.cma()
        assert after.reserved == before.reserved
        if area in before.counters:  # CONFIG_CMA_SYSFS
            taken = after.counters[area].allocated - before.counters[area].allocated
            assert taken == (PAGE + MIB) // PAGE

    @pytest.mark.needs("module-areas")
    @pytest.mark.parametrize(("parameter", "area"), [(AREA, AREA), ("default", DEFAULT)])
    def test_an_exhausted_area_is_not_helped_out_by_any_other_memory(
        self, guest: Guest, parameter: str, area: str
    ) -> None:
        guest.insmod(f"area={parameter}")
        room = free_pages(guest, area) * PAGE // CHUNK
        before = guest.cma()
        with untouched(guest, OTHER[area]), guest.script() as app:
            regions = alloc_many(app, [CHUNK] * room)
            assert merged([*before.allocated(area), *regions]) == (AREAS[area],)
            assert app.error(f"alloc {PAGE}") == "ENOMEM"
            assert app.error(f"alloc {CHUNK}") == "ENOMEM"
        after = guest.cma()
        assert after.reserved == before.reserved
        if area in before.counters:  # CONFIG_CMA_SYSFS
            failed = after.counters[area].failed - before.counters[area].failed
            assert failed == 1 + CHUNK // PAGE

    def test_all_of_an_area_leaves_its_neighbour_alone(self, guest: Guest) -> None:
        guest.insmod()
        with untouched(guest, DEFAULT), guest.script() as app:
            assert app.alloc(WHOLE.size) == WHOLE
            assert guest.cma().allocated(AREA) == (WHOLE,)
            assert app.error(f"alloc {PAGE}") == "ENOMEM"


@pytest.mark.needs("app-script", "module-areas")
class TestTwoDevices:
    @pytest.mark.needs("debugfs")
    @EACH_ORDER
    def test_each_takes_from_its_own_area_and_gives_back_to_it(
        self, guest: Guest, parameter: str, served: tuple[str, str]
    ) -> None:
        before = guest.cma()
        with one_each(guest, parameter) as apps:
            held = [app.alloc(MIB) for app in apps]
            state = guest.cma()
            for area, region in zip(served, held, strict=True):
                assert region in AREAS[area]
                assert state.allocated(area) == merged([*before.allocated(area), region])
            apps[0].release(held[0])
            state = guest.cma()
            assert state.allocated(served[0]) == before.allocated(served[0])
            assert held[1] in state.allocated(served[1])
            apps[1].release(held[1])
            assert guest.cma().reserved == before.reserved

    @pytest.mark.needs("debugfs")
    @pytest.mark.parametrize("parameter", [f"{AREA}:default", f"default:{AREA}"])
    def test_neither_gives_back_nor_maps_what_the_other_gave(
        self, guest: Guest, parameter: str
    ) -> None:
        with one_each(guest, parameter) as (one, two):
            first, second = one.alloc(CHUNK), two.alloc(CHUNK)
            held = guest.cma().reserved
            for app, foreign in ((one, second), (two, first)):
                assert app.error(f"release {foreign.start} {foreign.size}") == "EINVAL"
                assert app.error(f"mmap {foreign.start} {foreign.size}") == "EINVAL"
            assert guest.cma().reserved == held
            one.release(first)
            two.release(second)

    def test_one_that_has_no_more_is_no_hindrance_to_the_other(self, guest: Guest) -> None:
        with one_each(guest, f"{AREA}:default") as (ours, default):
            ours.alloc(WHOLE.size)
            assert default.alloc(MIB) in DEFAULT_WHOLE
            assert ours.error(f"alloc {PAGE}") == "ENOMEM"

    @pytest.mark.needs("debugfs")
    def test_two_devices_of_one_area_share_it(self, guest: Guest) -> None:
        with untouched(guest, DEFAULT), one_each(guest, f"{AREA}:{AREA}") as (one, two):
            assert [one.alloc(MIB), two.alloc(MIB)] == [pages(0, 256), pages(256, 256)]
            assert one.error(f"release {pages(256).start} {MIB}") == "EINVAL"

    @pytest.mark.needs("driver")
    def test_there_is_a_device_for_each_area_and_no_more(self, guest: Guest) -> None:
        guest.insmod(f"area={AREA}:default:{DEFAULT}")
        nodes = guest.run(f"echo {DEVICE}*").text.split()
        assert sorted(nodes) == [DEVICE, SECOND, f"{DEVICE}2"]
        with guest.script(f"{DEVICE}2") as third:
            assert third.alloc(PAGE) in DEFAULT_WHOLE


@pytest.mark.needs("debugfs", "app-script", "module-areas")
class TestBorder:
    """linux,cma ends where BiscuitOS_cma begins, at 0x69800000."""

    def test_the_last_page_before_it_is_told_from_the_first_one_behind(self, guest: Guest) -> None:
        needs_no_display(guest)
        with one_each(guest, f"{AREA}:default") as (ours, default):
            occupy(guest, DEFAULT, free_pages(guest, DEFAULT) - 1)
            last, first = default.alloc(PAGE), ours.alloc(PAGE)
            assert last == AddressRange(BORDER - PAGE, BORDER)
            assert first == AddressRange(BORDER, BORDER + PAGE)
            guest.judge(first)
            with pytest.raises(WrongArea) as caught:
                guest.judge(last)
            assert [area.name for area in caught.value.found] == [DEFAULT]

    def test_the_end_of_one_and_the_start_of_the_next_are_never_one_region(
        self, guest: Guest
    ) -> None:
        """32 free pages in a row, and no area has more than 16 of them."""
        needs_no_display(guest)
        with one_each(guest, f"{AREA}:default") as (ours, default):
            occupy(guest, DEFAULT, free_pages(guest, DEFAULT) - 16)
            start = ours.alloc(16 * PAGE)
            occupy(guest, AREA, free_pages(guest, AREA))
            ours.release(start)
            for app in (ours, default):
                assert app.error(f"alloc {32 * PAGE}") == "ENOMEM"
                assert app.error(f"alloc {17 * PAGE}") == "ENOMEM"
            assert default.alloc(16 * PAGE) == AddressRange(BORDER - 16 * PAGE, BORDER)
            assert ours.alloc(16 * PAGE) == AddressRange(BORDER, BORDER + 16 * PAGE)


@pytest.mark.needs("debugfs")
class TestDebugfs:
    @pytest.mark.parametrize("area", AREAS)
    def test_what_it_takes_and_gives_back_is_of_the_one_area(self, guest: Guest, area: str) -> None:
        if area == DEFAULT:
            needs_no_display(guest)
        before = guest.cma()
        first = before.used(area)
        with untouched(guest, OTHER[area]):
            occupy(guest, area, 5)
            taken = AddressRange.from_size(AREAS[area].start + first, 5 * PAGE)
            assert guest.cma().allocated(area) == merged([*before.allocated(area), taken])
            vacate(guest, OTHER[area], 5)
            assert guest.cma().used(area) == first + taken.size
            vacate(guest, area, 5)
        assert guest.cma().reserved == before.reserved

    @pytest.mark.needs("app-script", "module-areas")
    @pytest.mark.parametrize("area", AREAS)
    def test_the_driver_makes_do_with_what_it_left(self, guest: Guest, area: str) -> None:
        if area == DEFAULT:
            needs_no_display(guest)
        guest.insmod(f"area={area}")
        occupy(guest, area, free_pages(guest, area))
        with guest.script() as app:
            assert app.error(f"alloc {PAGE}") == "ENOMEM"
            vacate(guest, area, 1)
            with untouched(guest, OTHER[area]):
                assert app.alloc(PAGE) in AREAS[area]
