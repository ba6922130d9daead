# SPDX-License-Identifier: MIT
"""How long a region lives, who may end it, and that nothing of it stays behind.

The kernel checks each small slab object when it is allocated and when it is freed: what the driver
frees twice, or uses after it is freed, is reported.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.guest.application import AppScript
from harness.guest.guest import Guest
from harness.machine.errors import CommandFailed
from harness.memory.ranges import AddressRange

from .support import (
    BASE,
    DEFAULT_WHOLE,
    MIB,
    PAGE,
    SLUB_DEBUG,
    WHOLE,
    alloc_many,
    allocated,
    assert_all_is_free,
    assert_held,
    error_name,
    load_and_unload,
    no_growth,
    pages,
    release_many,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas", "debugfs"),
    pytest.mark.machine("loaded", append=SLUB_DEBUG),
]
NONCE = 0x0123456789ABCDEF


@pytest.fixture
def app(guest: Guest) -> Iterator[AppScript]:
    """An application that leaves nothing behind when it is killed after the test."""
    with guest.script() as app:
        yield app
    assert_all_is_free(guest)


@pytest.mark.needs("app-script")
class TestRelease:
    def test_what_was_given_back_is_had_again(self, guest: Guest, app: AppScript) -> None:
        region = app.alloc(3 * PAGE)
        for _ in range(3):
            app.release(region)
            assert allocated(guest) == ()
            assert app.alloc(3 * PAGE) == region

    def test_a_second_release_is_refused(self, guest: Guest, app: AppScript) -> None:
        first, second = alloc_many(app, [2 * PAGE] * 2)
        app.release(first)
        for _ in range(2):
            assert app.error(f"release {first.start} {first.size}") == "EINVAL"
        assert_held(guest, [second])
        assert app.alloc(2 * PAGE) == first

    def test_a_region_of_another_opener_is_not_to_be_released(
        self, guest: Guest, app: AppScript
    ) -> None:
        region = app.alloc(4 * PAGE)
        with guest.script() as other:
            own = other.alloc(4 * PAGE)
            assert other.error(f"release {region.start} {region.size}") == "EINVAL"
            assert app.error(f"release {own.start} {own.size}") == "EINVAL"
            assert_held(guest, [region, own])
        assert_held(guest, [region])
        app.release(region)

    def test_only_exactly_the_region_is_released(self, guest: Guest, app: AppScript) -> None:
        before, region, after = alloc_many(app, [8 * PAGE] * 3)
        start, size, word = region.start, region.size, 1 << 32
        wrong = [
            (start, size - PAGE),
            (start, PAGE),
            (start + PAGE, PAGE),
            (start + PAGE, size - PAGE),
            (region.end - PAGE, PAGE),
            (start, size + PAGE),
            (start - PAGE, size),
            (start - PAGE, size + PAGE),
            (start, 2 * size),
            (start, 0),
            (start, size + 1),
            (start, size - 1),
            (start + 1, size),
            (start + PAGE // 2, size),
            (DEFAULT_WHOLE.start, size),
            (WHOLE.end, size),
            (0, size),
            (word - PAGE, size),
            (start, word - PAGE),
        ]
        answers = app.ask(f"release {at} {length}" for at, length in wrong)
        assert [error_name(line) for line in answers] == ["EINVAL"] * len(wrong)
        assert_held(guest, [before, region, after])
        release_many(app, [region, before, after])


@pytest.mark.needs("app-script")
class TestBusy:
    def test_a_mapped_region_is_busy_until_its_last_mapping_goes(
        self, guest: Guest, app: AppScript
    ) -> None:
        region = app.alloc(4 * PAGE)
        release = f"release {region.start} {region.size}"
        app.mmap(region)
        app.mmap(AddressRange.from_size(region.start + PAGE, PAGE))
        assert app.error(release) == "EBUSY"
        app.munmap(region)
        assert app.error(release) == "EBUSY"
        assert_held(guest, [region])
        app.munmap(AddressRange.from_size(region.start + PAGE, PAGE))
        app.command(release)
        assert allocated(guest) == ()

    def test_a_mapping_makes_no_other_region_busy(self, app: AppScript) -> None:
        first, second, third = alloc_many(app, [PAGE] * 3)
        app.mmap(second)
        release_many(app, [first, third])
        assert app.error(f"release {second.start} {second.size}") == "EBUSY"

    def test_a_mapping_in_a_forked_child_counts(self, guest: Guest, app: AppScript) -> None:
        region = app.alloc(2 * PAGE)
        app.mmap(region)
        children = [app.command("fork")[0] for _ in range(2)]
        app.munmap(region)
        for child in children:
            assert app.error(f"release {region.start} {region.size}") == "EBUSY"
            app.command(f"reap {child}")
        assert_held(guest, [region])
        app.release(region)

    def test_a_mapping_that_was_cut_is_one_mapping(self, app: AppScript) -> None:
        """Cutting splits the mapping, and one of the two parts goes."""
        region = app.alloc(4 * PAGE)
        app.mmap(region)
        app.command(f"mremap {region.start} {PAGE}")
        assert app.error(f"release {region.start} {region.size}") == "EBUSY"
        app.munmap(region)
        app.release(region)

    def test_a_mapping_that_was_refused_does_not_count(self, app: AppScript) -> None:
        region = app.alloc(4 * PAGE)
        assert app.error(f"mmap {region.start} {region.size + PAGE}") == "EINVAL"
        assert app.error(f"mmap-private {region.start} {region.size}") == "EINVAL"
        app.mmap(region)
        assert app.error(f"mremap {region.start} {region.size + PAGE}") == "EFAULT"
        app.munmap(region)
        app.release(region)


@pytest.mark.needs("app-script")
class TestEndOfTheHolder:
    def test_close_gives_all_back(self, guest: Guest, app: AppScript) -> None:
        alloc_many(app, [PAGE, MIB, 3 * PAGE])
        app.command("reopen")
        assert allocated(guest) == ()
        assert app.error(f"release {BASE} {PAGE}") == "EINVAL"

    def test_a_mapping_outlives_the_close_and_ends_with_its_own_end(
        self, guest: Guest, app: AppScript
    ) -> None:
        mapped, other = alloc_many(app, [MIB, PAGE])
        app.mmap(mapped)
        app.fill(NONCE, mapped)
        app.command("reopen")
        assert_held(guest, [mapped, other])
        assert app.error(f"release {mapped.start} {mapped.size}") == "EINVAL"
        assert not app.alloc(MIB).overlaps(mapped)
        app.command(f"check {NONCE:x} {mapped.start} {mapped.size}")
        app.munmap(mapped)
        assert_held(guest, [pages(512, 256)])

    @pytest.mark.parametrize("mapped", [False, True])
    def test_sigkill_of_the_holder_gives_all_back(
        self, guest: Guest, app: AppScript, mapped: bool
    ) -> None:
        regions = alloc_many(app, [MIB, PAGE, 5 * PAGE])
        for region in regions if mapped else []:
            app.mmap(region)
            app.fill(NONCE, region)
        assert_held(guest, regions)
        app.kill()
        assert allocated(guest) == ()

    @pytest.mark.parametrize("mapped", [False, True])
    def test_a_forked_child_keeps_it_alive(
        self, guest: Guest, app: AppScript, mapped: bool
    ) -> None:
        region = app.alloc(16 * PAGE)
        if mapped:
            app.mmap(region)
            app.fill(NONCE, region)
        child = app.command("fork")[0]
        if mapped:
            app.munmap(region)
        app.command("reopen")
        assert_held(guest, [region])
        assert app.alloc(16 * PAGE) == pages(16, 16)
        app.command(f"reap {child}")
        assert_held(guest, [pages(16, 16)])

    def test_one_opener_s_end_leaves_the_other_s_regions_alone(
        self, guest: Guest, app: AppScript
    ) -> None:
        with guest.script() as other:
            theirs = alloc_many(other, [PAGE] * 3)
            ours = alloc_many(app, [2 * PAGE] * 2)
            app.mmap(ours[1])
            app.fill(NONCE, ours[1])
            assert_held(guest, [*theirs, *ours])
        assert_held(guest, ours)
        app.check(NONCE, ours[1])


class TestModule:
    @pytest.mark.needs("app-script")
    def test_rmmod_is_refused_while_a_region_is_held(self, guest: Guest, app: AppScript) -> None:
        region = app.alloc(MIB)
        with pytest.raises(CommandFailed):
            guest.rmmod()
        assert_held(guest, [region])
        app.release(region)

    def test_loading_and_unloading_again_and_again_changes_nothing(self, guest: Guest) -> None:
        def state() -> tuple[object, str, str]:
            names = guest.run("ls /sys/bus/platform/devices /sys/class/misc /dev").text
            return guest.cma().reserved, guest.read_text("/proc/iomem"), names

        guest.rmmod()
        before = state()
        load_and_unload(guest, 1)
        with no_growth(guest, 20, loads=20):
            load_and_unload(guest, 20)
        assert state() == before
        guest.insmod()
        assert_all_is_free(guest)


@pytest.mark.needs("app-script")
class TestErrorPaths:
    """What fails late must undo what it did early."""

    def test_an_answer_that_cannot_be_delivered_allocates_nothing(
        self, guest: Guest, app: AppScript
    ) -> None:
        held = app.alloc(PAGE)
        for length in (PAGE, MIB):
            assert app.error(f"repeat 30 readonly {length}") == "EFAULT"
        assert_held(guest, [held])
        assert app.alloc(PAGE) == pages(1)

    @pytest.mark.parametrize("command", ["alloc", "release"])
    def test_an_argument_that_points_nowhere_changes_nothing(
        self, guest: Guest, app: AppScript, command: str
    ) -> None:
        held = app.alloc(PAGE)
        assert app.error(f"repeat 100 badptr {command}") == "EFAULT"
        assert_held(guest, [held])

    def test_no_refusal_and_no_end_leaves_an_object(self, guest: Guest, app: AppScript) -> None:
        with guest.script() as other:
            assert other.alloc(WHOLE.size) == WHOLE
            with no_growth(guest, 300):
                assert app.error(f"repeat 300 alloc {PAGE}") == "ENOMEM"
                assert app.error(f"repeat 300 alloc {WHOLE.size + PAGE}") == "EINVAL"
                assert app.error(f"repeat 300 mmap {BASE} {PAGE}") == "EINVAL"
                assert app.error(f"repeat 300 release {BASE} {PAGE}") == "EINVAL"
                assert app.error("repeat 300 badptr alloc") == "EFAULT"
        with no_growth(guest, 200):
            assert app.error(f"repeat 200 readonly {PAGE}") == "EFAULT"
            app.command(f"repeat 200 cycle {PAGE}")
            app.command("repeat 200 reopen")
            app.command(f"repeat 200 alloc {PAGE}")
            app.command("reopen")


@pytest.mark.needs("app-script")
class TestContents:
    def test_what_the_last_user_wrote_is_gone(self, app: AppScript) -> None:
        assert app.alloc(WHOLE.size) == WHOLE
        app.fill(NONCE, WHOLE)
        app.release(WHOLE)
        assert app.alloc(WHOLE.size) == WHOLE
        app.command(f"zero {WHOLE.start} {WHOLE.size}")

    @pytest.mark.parametrize("count", [1, 3, 256])
    def test_a_region_is_zero_to_its_last_byte_whatever_its_length(
        self, guest: Guest, app: AppScript, count: int
    ) -> None:
        with guest.script() as killed:
            assert killed.alloc(WHOLE.size) == WHOLE
            killed.fill(NONCE, WHOLE)
        region = app.alloc(count * PAGE)
        app.command(f"zero {region.start} {region.size}")
        assert guest.read_physical(region.end - 64, 64) == bytes(64)
