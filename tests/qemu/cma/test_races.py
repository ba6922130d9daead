# SPDX-License-Identifier: MIT
"""Two processors in one area, one of them held where only a lock keeps the other away."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from harness.app_script import AppScript
from harness.guest import Guest
from harness.machine.gdbstub import LR, GdbStub, attached
from harness.machine.machine import MachineConfig
from harness.memory.ranges import AddressRange, merged
from harness.pytest_plugin.fixtures import Boots
from tests.qemu.cma.support import PAGE, allocated, answered_range, assert_all_is_free, scripts

pytestmark = [pytest.mark.every_kernel, pytest.mark.needs("two-areas", "debugfs", "app-script")]

ARRIVAL = 20.0
"""Seconds for the first processor to come to its place; it needs milliseconds."""
HEAD_START = 0.5
"""Seconds that the other one gets while the first is held: it needs some ten milliseconds to pass
where no lock holds it, and with a lock there is no event to wait for."""


@pytest.fixture
def guest(boots: Boots, machine_config: MachineConfig) -> Guest:
    config = dataclasses.replace(machine_config, processors=2)
    return boots.clone(config, "loaded", lambda machine: Guest(machine).insmod())


def race(guest: Guest, function: str, sizes: tuple[int, int]) -> list[AddressRange]:
    """Two allocations: the first is held where `function` returns to its caller, until the second
    has had its time; what they got.
    """
    assert guest.images.system_map is not None
    lines = (line.split() for line in guest.images.system_map.read_text().splitlines())
    addresses = {words[2]: int(words[0], 16) for words in lines}
    if function not in addresses:
        pytest.skip(f"this kernel has no function {function} of its own")
    with scripts(guest, 2) as apps:
        # The first on the second processor, all else on the first one.
        guest.run(
            f"taskset -p 1 $$; taskset -p 2 {apps[0].process}; taskset -p 1 {apps[1].process}"
        )
        with attached(guest.machine) as stub:
            sending = threading.Thread(target=send, args=(guest, apps, sizes))
            held = hold(stub, addresses[function], sending.start)
            assert held == 2, "the first application runs on the second processor"
            stub.resume(1)
            if stub.stopped(HEAD_START) is None:
                stub.interrupt()
        sending.join()
        regions = [answered_range(app.answers(1)[0]) for app in apps]
        assert allocated(guest) == merged(sorted(regions)), "and no other page is marked"
    assert_all_is_free(guest)
    return regions


def send(guest: Guest, apps: list[AppScript], sizes: tuple[int, int]) -> None:
    for app, size in zip(apps, sizes, strict=True):
        app.send([f"alloc {size}"])


def hold(stub: GdbStub, function: int, begin: Callable[[], object]) -> int:
    """Runs all until a processor returns from `function`, and leaves all stopped; which it is."""
    stub.break_at(function)
    stub.resume()
    begin()
    processor = stub.stopped(ARRIVAL)
    assert processor is not None, "nobody came to the function"
    stub.clear(function)
    back = stub.register(processor, LR)
    stub.break_at(back)
    stub.resume(processor)
    assert stub.stopped(ARRIVAL) == processor
    stub.clear(back)
    return processor


@pytest.mark.parametrize("sizes", [(PAGE, PAGE), (4 * PAGE, PAGE), (PAGE, 16 * PAGE)])
def test_nobody_searches_the_bitmap_between_another_s_search_and_mark(
    guest: Guest, sizes: tuple[int, int]
) -> None:
    regions = race(guest, "bitmap_find_next_zero_area_off", sizes)
    assert not regions[0].overlaps(regions[1])


def test_who_comes_while_another_isolates_the_same_block_waits_and_is_served(guest: Guest) -> None:
    """60a60e32cf91: without the mutex the second is refused, or served behind the whole block."""
    regions = race(guest, "start_isolate_page_range", (PAGE, PAGE))
    assert sorted(region.start for region in regions) == [
        min(regions).start,
        min(regions).start + PAGE,
    ], "side by side"
