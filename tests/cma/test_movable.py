# SPDX-License-Identifier: MIT
"""A CMA area is no waste: others use its memory until it is wanted, and are moved away then."""

from __future__ import annotations

import dataclasses
import random
import re
import struct
from collections.abc import Iterator

import pytest

from harness.guest.application import AppScript
from harness.guest.guest import AREA, Guest
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine
from harness.memory.ranges import AddressRange, merged
from harness.pytest_plugin.boots import Boots

from .support import (
    DEFAULT_WHOLE,
    MIB,
    PAGE,
    PAGES,
    WHOLE,
    alloc_many,
    answered_range,
    assert_calls,
    counted,
    pages,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("two-areas", "app-script"),
]

SMALL = 192
"""MiB of RAM: enough for both areas, and soon full."""
ROOM = 20
"""MiB that are left free, about half of them in the area: the kernel balances the two."""
USED = 12
"""MiB of them that a process takes."""
BALLAST, DATA = "/ballast/file", "/tmp/data"
BLOCK = 256 << 10
FRAME = (1 << 55) - 1
"""The bits of a pagemap entry that are the page's frame number (the kernel's pagemap.rst)."""
PRESENT = 1 << 63
LRU, ANON = 1 << 5, 1 << 12
"""Of ``/proc/kpageflags``: data of processes or files; of a process alone."""


def fill_up(guest: Guest) -> None:
    """Leaves `ROOM` free, and all that is free of CMA in the area under test."""
    # Else the kernel may want more memory kept free, at times, than there is.
    guest.run("echo 0 > /proc/sys/vm/watermark_boost_factor")
    guest.run("mkdir /ballast && mount -t tmpfs -o size=100% none /ballast")
    left = (guest.cma().areas["linux,cma"].size - guest.cma().used("linux,cma")) // PAGE
    guest.run(f"echo {left} > {guest.debug_dir('linux,cma')}/alloc")
    weigh_down(guest)


def weigh_down(guest: Guest) -> None:
    """Takes all memory but `ROOM` for a file."""
    free = next(
        int(line.split()[1])
        for line in guest.read_text("/proc/meminfo").splitlines()
        if line.startswith("MemFree:")
    )
    guest.run(f"fallocate -l {free - ROOM * 1024}k {BALLAST}", timeout=60)


def prepare(machine: Machine) -> None:
    """A machine whose memory is full, with the driver."""
    guest = Guest(machine)
    guest.insmod()
    fill_up(guest)


@pytest.fixture
def full(boots: Boots, machine_config: MachineConfig) -> Guest:
    """A guest with little memory left, `ROOM`."""
    config = dataclasses.replace(machine_config, memory_mib=SMALL)
    return boots.clone(config, f"loaded, full to {ROOM} MiB, no boost", prepare)


@pytest.fixture
def user(full: Guest) -> Iterator[AppScript]:
    """A process that has filled `USED` MiB of its own memory."""
    with full.script() as app:
        use(app)
        yield app


def use(app: AppScript, size: int = USED * MIB, kind: str = "anon") -> None:
    """Fills ordinary memory with a pattern that ``anon-check`` knows."""
    app.command(f"{kind} {random.SystemRandom().getrandbits(64):x} {size}")


def frames(guest: Guest, app: AppScript) -> set[int]:
    """The physical addresses of the memory that `use` filled."""
    spans = []
    for line in guest.read_text(f"/proc/{app.process}/maps").splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        spans.append((end - start, start))
    size, start = max(spans)
    # An entry of 8 bytes for each page, read in pieces of 4096.
    first, last = start // PAGE * 8, (start + size) // PAGE * 8
    table = guest.run(
        f"dd if=/proc/{app.process}/pagemap bs=4096 skip={first // 4096}"
        f" count={-(-last // 4096) - first // 4096} 2>/dev/null"
    ).stdout
    begin = first % 4096
    entries = struct.unpack(f"<{size // PAGE}Q", table[begin : begin + last - first])
    return {(entry & FRAME) * PAGE for entry in entries if entry & PRESENT}


def page_flags(guest: Guest) -> list[int]:
    """What the kernel says of each page of the area."""
    size = PAGES * 8
    skip = WHOLE.start // PAGE * 8 // size
    table = guest.run(f"dd if=/proc/kpageflags bs={size} skip={skip} count=1 2>/dev/null").stdout
    return list(struct.unpack(f"<{PAGES}Q", table))


def data_of_files(guest: Guest) -> int:
    """How many pages of the area have it."""
    return sum(1 for flag in page_flags(guest) if flag & LRU and not flag & ANON)


def inside(addresses: set[int]) -> set[int]:
    """Those of the addresses that are in the area."""
    return {address for address in addresses if address in WHOLE}


@pytest.mark.needs("debugfs")
class TestInUse:
    def test_memory_of_the_area_serves_processes_while_nobody_claims_it(self, full: Guest) -> None:
        before = full.cma()
        assert before.allocated(AREA) == ()
        with full.script() as app:
            use(app)
            taken = inside(frames(full, app))
            after = full.cma()
            assert len(taken) > MIB // PAGE
            assert before.meminfo.free - after.meminfo.free >= len(taken) * PAGE * 9 // 10
            assert after.reserved == before.reserved
            assert app.command("anon-check") == []

    def test_all_of_it_is_had_nevertheless_and_nobody_s_data_is_lost(
        self, full: Guest, user: AppScript
    ) -> None:
        full.run(f"dd if=/dev/urandom of={DATA} bs=64k count=16 2>/dev/null")
        digest = full.run(f"md5sum {DATA}; rm {BALLAST}").text  # there must be room to move to
        taken = inside(frames(full, user))
        assert len(taken) > MIB // PAGE
        assert data_of_files(full) > 0
        before = full.cma()
        with full.script() as app:
            assert app.alloc(WHOLE.size) == WHOLE
            app.command(f"zero {WHOLE.start} {WHOLE.size}")
            app.fill(1, WHOLE)
            assert inside(frames(full, user)) == set()
            assert user.command("anon-check") == []
            assert full.run(f"md5sum {DATA}").text == digest
            app.check(1, WHOLE)
            after = full.cma()
        moved = after.vmstat["pgmigrate_success"] - before.vmstat["pgmigrate_success"]
        assert moved >= len(taken)
        assert_calls(full, after, before, 1, 0)
        if AREA in before.counters:  # CONFIG_CMA_SYSFS
            assert after.counters[AREA].allocated == before.counters[AREA].allocated + PAGES
        assert after.allocated(AREA) == (WHOLE,)
        assert full.cma().reserved == before.reserved

    def test_what_is_given_back_serves_processes_again(self, full: Guest) -> None:
        with full.script() as app:
            assert app.alloc(WHOLE.size) == WHOLE
            assert counted(full).meminfo.free == 0
            app.release(WHOLE)
        with full.script() as app:
            use(app)
            assert len(inside(frames(full, app))) > MIB // PAGE
            assert app.command("anon-check") == []

    def test_what_is_allocated_serves_nobody_else(self, full: Guest) -> None:
        held = pages(0, PAGES // 2)
        with full.script() as app, full.script() as other:
            assert app.alloc(held.size) == held
            app.fill(2, held)
            use(other, 9 * MIB)
            taken = inside(frames(full, other))
            assert taken
            assert not any(address in held for address in taken)
            app.check(2, held)


@pytest.mark.needs("debugfs")
class TestPinned:
    """Pages in a pipe are pinned as those of I/O in flight are: they cannot be moved."""

    @staticmethod
    def pin(guest: Guest, user: AppScript) -> tuple[AddressRange, set[int]]:
        """Pins the pages of the process in one block of the area: the block, and the pages."""
        taken = inside(frames(guest, user))
        guest.run(f"rm {BALLAST}")
        start = min(taken) // BLOCK * BLOCK
        block = AddressRange.from_size(start, BLOCK)
        pinned = {address for address in taken if address in block}
        assert user.command(f"pin {block.start} {block.size}") == [str(len(pinned))]
        return block, pinned

    @pytest.mark.parametrize("kind", ["anon", "tmpfs"])
    def test_the_whole_area_is_refused_and_nothing_is_leaked(
        self, full: Guest, user: AppScript, kind: str
    ) -> None:
        """Pages of a file are taken off the kernel's lists before it finds that they stay."""
        if kind != "anon":
            user.command("anon-free")
            use(user, kind=kind)
        _, pinned = self.pin(full, user)
        before = full.cma()
        with full.script() as app:
            assert app.error(f"alloc {WHOLE.size}") == "ENOMEM"
            after = full.cma()
            assert after.reserved == before.reserved
            assert_calls(full, after, before, 0, 1)
            if AREA in before.counters:  # CONFIG_CMA_SYSFS
                assert after.counters[AREA].failed == before.counters[AREA].failed + PAGES
                assert after.counters[AREA].allocated == before.counters[AREA].allocated
            assert user.command("anon-check") == []
            assert pinned <= frames(full, user)

            user.command("unpin")
            assert app.alloc(WHOLE.size) == WHOLE
            assert user.command("anon-check") == []

    def test_all_that_lies_beside_the_pinned_pages_can_be_had(
        self, full: Guest, user: AppScript
    ) -> None:
        block, pinned = self.pin(full, user)
        count = WHOLE.size // BLOCK - 1
        with full.script() as app:
            regions = alloc_many(app, [BLOCK] * count)
            assert app.error(f"alloc {BLOCK}") == "ENOMEM"
            assert merged(regions) == WHOLE.without(block)
            assert full.cma().allocated(AREA) == merged(regions)
            for number, region in enumerate(regions):
                app.fill(number, region)
            assert user.command("anon-check") == []
            assert pinned <= frames(full, user)

            user.command("unpin")
            assert answered_range(app.ask([f"alloc {BLOCK}"])[0]) == block


def cma_blocks(guest: Guest) -> int:
    """Bytes of all page blocks from which the kernel takes nothing that it could not move away."""
    text = guest.read_text("/proc/pagetypeinfo")
    block = re.search(r"^Pages per block: +(\d+)", text, re.MULTILINE)
    kinds = re.search(r"^Number of blocks type +(.*)\n((?:Node.*\n?)+)", text, re.MULTILINE)
    assert block
    assert kinds
    column = kinds[1].split().index("CMA")
    # Node 0, zone   Normal            1 ...
    counts = [int(line.split()[4:][column]) for line in kinds[2].splitlines()]
    return sum(counts) * int(block[1]) * PAGE


@pytest.mark.machine("loaded")
class TestAccounts:
    """With plenty of memory nobody else uses the area but for a page or two."""

    @pytest.mark.needs("debugfs")
    def test_an_allocation_takes_its_pages_from_the_free_memory_and_gives_them_back(
        self, guest: Guest
    ) -> None:
        with guest.script() as app:
            before = counted(guest)
            region = app.alloc(MIB)
            held = counted(guest)
            slack = 16 * PAGE  # on a processor's list, or lent to the application itself
            assert 0 <= region.size - (before.meminfo.free - held.meminfo.free) <= slack
            assert held.meminfo.total == before.meminfo.total
            # What is freed waits on a list of the processor; the next allocation empties that.
            app.ask([f"release {region.start} {region.size}", f"alloc {PAGE}"])
            after = counted(guest)
            assert 0 <= before.meminfo.free - PAGE - after.meminfo.free <= slack
            flags = page_flags(guest)
            assert sum(1 for flag in flags[1 : MIB // PAGE] if flag & LRU) <= slack // PAGE

    def test_the_page_blocks_of_the_areas_are_for_movable_data_before_and_after(
        self, guest: Guest
    ) -> None:
        total = DEFAULT_WHOLE.size + WHOLE.size
        assert cma_blocks(guest) == total
        with guest.script() as app:
            for size in (PAGE, WHOLE.size):
                region = app.alloc(size)
                assert cma_blocks(guest) == total
                app.release(region)
                assert cma_blocks(guest) == total
