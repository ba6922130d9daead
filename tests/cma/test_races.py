# SPDX-License-Identifier: MIT
"""Two processors in one area, one of them held where only a lock keeps the other away."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from harness.guest.guest import Guest
from harness.machine.config import MachineConfig
from harness.machine.gdbstub import LR, GdbStub, attached
from harness.memory.ranges import AddressRange, merged
from harness.pytest_plugin.boots import Boots

from .support import PAGE, allocated, answered_range, assert_all_is_free, scripts

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas", "debugfs", "app-script"),
]

WORK = "/sys/devices/virtual/workqueue/cpumask"
"""Where work that is bound to no processor may run (``Documentation/core-api/workqueue.rst``)."""
ARRIVAL = 20.0
"""Seconds for the first processor to come to its place; it needs milliseconds."""
HEAD_START = 1.0
"""Seconds that the other one gets while the first is held. Where nothing keeps it away it needs
some ten milliseconds, and coming to the place is the event; where a lock does, there is none."""


@pytest.fixture
def guest(boots: Boots, machine_config: MachineConfig) -> Guest:
    config = dataclasses.replace(machine_config, processors=2)
    return boots.clone(config, "loaded", lambda machine: Guest(machine).insmod())


def address_of(guest: Guest, function: str) -> int:
    """Where a function of the kernel is; skips where that cannot be known."""
    # Of a kernel that was given there is no System.map.
    found = guest.run(f"grep -i ' t {function}$' /proc/kallsyms", check=False).text.split()
    if not found:
        pytest.skip(f"needs the function {function}: not in /proc/kallsyms (inlined, or absent)")
    return int(found[0], 16)


def race(guest: Guest, function: str, sizes: tuple[int, int]) -> list[AddressRange]:
    """Two allocations: the first is held where `function` returns to its caller, and the second
    must not come to that function before the first goes on; what they got.
    """
    address = address_of(guest, function)
    with scripts(guest, 2) as apps:
        # The first on the second processor, all else on the first one: this shell, the agent that
        # runs it, and what hands them the bytes of the serial line.
        pinned = [f"taskset -p 1 {who}" for who in ("$$", "$PPID", apps[1].process)]
        pinned += [f"taskset -p 2 {apps[0].process}", f"echo 1 >{WORK}"]
        guest.run("; ".join(pinned))
        held = threading.Event()

        def send() -> None:
            apps[0].send([f"alloc {sizes[0]}"])
            held.wait(ARRIVAL)
            apps[1].send([f"alloc {sizes[1]}"])

        with attached(guest.machine) as stub:
            sending = threading.Thread(target=send)
            assert hold(stub, address, sending.start) == 2
            held.set()
            stub.break_at(address)
            stub.resume(1)
            came = stub.stopped(HEAD_START)
            if came is None:
                stub.interrupt()
            stub.clear(address)
        sending.join()
        regions = [answered_range(app.answers(1)[0]) for app in apps]
        assert came is None, f"the second is in {function} while the first one is not done"
        assert allocated(guest) == merged(sorted(regions)), "and no other page is marked"
    assert_all_is_free(guest)
    return regions


def hold(stub: GdbStub, function: int, begin: Callable[[], object]) -> int:
    """Runs all until a processor returns from `function`, and leaves all stopped; which it is.

    All run meanwhile: until 5.10 ``start_isolate_page_range()`` empties the per-processor lists by
    work on every processor, and waits for it (``drain_all_pages()``). Nobody else comes to the
    place of return: the other one was asked for nothing yet.
    """
    stub.break_at(function)
    stub.resume()
    begin()
    processor = stub.stopped(ARRIVAL)
    assert processor is not None, "nobody came to the function"
    stub.clear(function)
    back = stub.register(processor, LR)
    stub.break_at(back)
    stub.resume()
    assert stub.stopped(ARRIVAL) == processor, "it does not return from the function"
    stub.clear(back)
    return processor


@pytest.mark.parametrize("sizes", [(PAGE, PAGE), (4 * PAGE, PAGE), (PAGE, 16 * PAGE)])
def test_nobody_searches_the_bitmap_between_another_s_search_and_mark(
    guest: Guest, sizes: tuple[int, int]
) -> None:
    regions = race(guest, "bitmap_find_next_zero_area_off", sizes)
    assert not regions[0].overlaps(regions[1])


def test_who_comes_while_another_isolates_the_same_block_waits_and_is_served(guest: Guest) -> None:
    """60a60e32cf91: without the mutex one of them is refused its pages and takes others."""
    regions = race(guest, "start_isolate_page_range", (PAGE, PAGE))
    first = guest.memory_map().area(guest.area).range.start
    assert [region.start for region in regions] == [first, first + PAGE]


def test_a_region_is_marked_until_its_pages_are_free(guest: Guest) -> None:
    """Who finds it unmarked before would be refused the pages, and look further."""
    functions = ("free_contig_frozen_range", "free_contig_range")
    with scripts(guest, 1) as (app,):
        region = app.alloc(4 * PAGE)
        pinned = ["taskset -p 1 $$", "taskset -p 1 $PPID", f"taskset -p 2 {app.process}"]
        guest.run("; ".join([*pinned, f"echo 1 >{WORK}"]))
        found = guest.run(f"grep -iE ' t ({'|'.join(functions)})$' /proc/kallsyms").text.split()
        addresses = [int(word, 16) for word in found[::3]]
        if not addresses:
            pytest.skip(f"needs one of the functions {', '.join(functions)}: not in /proc/kallsyms")
        with attached(guest.machine) as stub:
            for address in addresses:
                stub.break_at(address)
            stub.resume()
            # All may stand still before the shell could say that it is sent.
            release = [f"release {region.start} {region.size}"]
            sending = threading.Thread(target=app.send, args=(release,))
            sending.start()
            assert stub.stopped(ARRIVAL) == 2
            for address in addresses:
                stub.clear(address)
            stub.resume(1)
            sending.join()
            held = allocated(guest)
            stub.interrupt()
        assert app.answers(1) == ["ok"]
    assert held == (region,)
    assert_all_is_free(guest)


def test_an_allocation_that_is_killed_leaves_no_page_marked(guest: Guest) -> None:
    """It is given up after its bits were set: ``alloc_contig_range()`` fails with EINTR."""
    function = address_of(guest, "start_isolate_page_range")
    with scripts(guest, 1) as (app,):
        # As above: it on the second processor, what kills it on the first one.
        pinned = ["taskset -p 1 $$", "taskset -p 1 $PPID", f"taskset -p 2 {app.process}"]
        guest.run("; ".join([*pinned, f"echo 1 >{WORK}"]))
        with attached(guest.machine) as stub:
            sending = threading.Thread(target=app.send, args=([f"alloc {PAGE}"],))
            assert hold(stub, function, sending.start) == 2
            stub.resume(1)
            # One request at a time: the answer to the first one may be on its way.
            sending.join()
            guest.run(f"kill -9 {app.process}")
            stub.interrupt()
        app.kill()
    assert_all_is_free(guest)
