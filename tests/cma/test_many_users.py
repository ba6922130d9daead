# SPDX-License-Identifier: MIT
"""Many processes at once, on one processor and on two: QEMU runs two at the same time."""

from __future__ import annotations

import dataclasses

import pytest

from harness.guest.application import AppError, AppScript
from harness.guest.guest import Guest
from harness.machine.config import MachineConfig
from harness.memory.ranges import AddressRange, merged
from harness.pytest_plugin.boots import Boots

from .support import (
    LONG,
    PAGE,
    WHOLE,
    allocated,
    answered_range,
    assert_all_is_free,
    pages,
    scripts,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas", "debugfs", "app-script"),
]


@pytest.fixture
def guest(boots: Boots, machine_config: MachineConfig) -> Guest:
    """One with two processors, the driver loaded. QEMU runs each in a thread of its own."""
    return with_processors(boots, machine_config, 2)


@pytest.fixture
def parallel(boots: Boots, machine_config: MachineConfig) -> Guest:
    """One with four processors: where the host has two, it stops one at any instruction."""
    return with_processors(boots, machine_config, 4)


def with_processors(boots: Boots, config: MachineConfig, processors: int) -> Guest:
    """A clone with the driver loaded."""
    config = dataclasses.replace(config, processors=processors)
    guest = boots.clone(config, "loaded", lambda machine: Guest(machine).insmod())
    assert guest.run("nproc").text.strip() == str(processors)
    return guest


def at_once(apps: list[AppScript], commands: list[list[str]]) -> list[list[str]]:
    """Each application gets its commands before any is asked for its answers."""
    for app, lines in zip(apps, commands, strict=True):
        app.send(lines)
    return [app.answers(len(lines), LONG) for app, lines in zip(apps, commands, strict=True)]


class TestProcesses:
    def test_no_two_hold_the_same_page(self, guest: Guest) -> None:
        """Proved by the addresses while all are held, and by what each finds in its own."""
        sizes = [PAGE, 3 * PAGE, 16 * PAGE, 2 * PAGE, 33 * PAGE, PAGE]
        with scripts(guest, 8) as apps:
            said = at_once(apps, [[f"alloc {size}" for size in sizes]] * 8)
            held = [[answered_range(line) for line in lines] for lines in said]
            assert [[region.size for region in regions] for regions in held] == [sizes] * 8
            all_held = sorted(region for regions in held for region in regions)
            assert sum(region.size for region in merged(all_held)) == 8 * sum(sizes)
            assert allocated(guest) == merged(all_held)
            for verb in ("fill", "check"):
                said = at_once(
                    apps, [lines_for(verb, number, held[number]) for number in range(len(apps))]
                )
                assert said == [["ok"] * len(sizes)] * 8
        assert_all_is_free(guest)

    def test_allocating_and_releasing_at_random_damages_nothing(self, guest: Guest) -> None:
        with scripts(guest, 8) as apps:
            churn = [[f"churn {number}5a5a {40} {64}"] for number in range(1, 9)]
            for (line,) in at_once(apps, churn):
                ok, taken, _refused = line.split()
                assert ok == "ok", line
                assert int(taken) > 10
            assert allocated(guest) == ()
        assert_all_is_free(guest)

    def test_where_too_much_is_asked_for_some_are_refused_and_none_is_damaged(
        self, guest: Guest
    ) -> None:
        with scripts(guest, 4) as apps:
            apps[0].alloc(7 << 20)
            churn = [[f"churn {number}a5a5 {40} {200}"] for number in range(1, 5)]
            refused = 0
            for (line,) in at_once(apps, churn):
                words = line.split()
                assert words[0] == "ok", line
                refused += int(words[2])
            assert refused
            assert allocated(guest) == (AddressRange.from_size(WHOLE.start, 7 << 20),)
        assert_all_is_free(guest)

    def test_pages_that_are_taken_at_once_are_packed_without_a_hole(self, guest: Guest) -> None:
        """Kernel commit 60a60e32cf91: two allocations in one page block must wait for each other,
        or one passes over pages that are free.
        """
        with scripts(guest, 8) as apps:
            said = at_once(apps, [[f"repeat 40 alloc {PAGE}"]] * 8)
            assert [line.split()[0] for (line,) in said] == ["ok"] * 8
            assert allocated(guest) == (pages(0, 320),)

    def test_killing_some_leaves_what_the_others_have(self, guest: Guest) -> None:
        with scripts(guest, 6) as apps:
            said = at_once(apps, [[f"alloc {7 * PAGE}"] * 3] * 6)
            held = [[answered_range(line) for line in lines] for lines in said]
            for app, regions, number in zip(apps, held, range(6), strict=True):
                app.ask(lines_for("fill", number, regions))
            for app in apps[::2]:
                app.kill()
            assert allocated(guest) == merged(region for own in held[1::2] for region in own)
            for number in (1, 3, 5):
                lines = lines_for("check", number, held[number])
                assert apps[number].ask(lines) == ["ok"] * 3
        assert_all_is_free(guest)


def lines_for(verb: str, number: int, regions: list[AddressRange]) -> list[str]:
    """``fill`` or ``check`` of each region, with a pattern that no other region has."""
    return [
        f"{verb} {number * 1000 + place + 1:x} {region.start} {region.size}"
        for place, region in enumerate(regions)
    ]


class TestOneOpenFile:
    """Children share their parent's open file: the driver's own lock has to keep them apart."""

    def test_children_that_race_get_what_is_theirs(self, guest: Guest) -> None:
        with guest.script() as app:
            kept = app.alloc(5 * PAGE)
            app.fill(0x1234, kept)
            app.command(f"race 4 40 {PAGE}", LONG)
            app.command(f"race 4 15 {3 * PAGE}", LONG)
            app.check(0x1234, kept)
            assert allocated(guest) == (kept,)
            app.release(kept)
            assert allocated(guest) == ()
        assert_all_is_free(guest)

    def test_mappings_are_counted_right_where_several_processors_count(
        self, parallel: Guest
    ) -> None:
        """Each fork copies 2000 mappings, while on another processor a child ends its own."""
        with parallel.script() as app:
            region = app.alloc(PAGE)
            app.command(f"repeat 2000 mmap {region.start} {PAGE}", LONG)
            # Children that do nothing but begin and end.
            app.command(f"repeat 5 race 16 0 {PAGE}", LONG)
            app.command(f"repeat 1999 munmap {region.start}", LONG)
            with pytest.raises(AppError, match="EBUSY"):
                app.release(region)
            app.munmap(region)
            app.release(region)
        assert_all_is_free(parallel)
