# SPDX-License-Identifier: MIT
"""A device that takes coherent memory through the kernel's DMA interface, as most users of CMA do.

It is virtio's source of random numbers, told to go by that interface: its queue is memory of
``dma_alloc_coherent()``, taken when the driver binds and given back when it is unbound
(arch/arm/mm/dma-mapping.c, kernel/dma/contiguous.c).
"""

from __future__ import annotations

import dataclasses

import pytest

from harness.explore.firstfit import alignment_of
from harness.guest.guest import AREA, Guest
from harness.machine.config import MachineConfig
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.boots import Boots

from .support import DEFAULT_WHOLE, PAGE, needs_no_display, version_of
from .test_at_boot import ATOMIC_POOL

pytestmark = [pytest.mark.every_kernel, pytest.mark.needs("two-areas", "debugfs")]

DEFAULT = "linux,cma"
DRIVER = "/sys/bus/virtio/drivers/virtio_rng"
TIMES = 20
FALLS_BACK = 6, 0
"""The first version in which ARM's coherent memory is that of dma_alloc_contiguous() and, where
that has none, of the page allocator."""


@pytest.fixture
def guest(boots: Boots, machine_config: MachineConfig) -> Guest:
    guest = boots.clone(dataclasses.replace(machine_config, dma=True), "booted", None)
    if guest.run(f"ls -d {DRIVER}/virtio*", check=False).status:
        pytest.skip(f"needs a virtio source of random numbers: {DRIVER} has no device")
    needs_no_display(guest)
    return guest


def queue(guest: Guest) -> AddressRange:
    """The memory of the device's queue: all that is allocated besides the atomic pool."""
    taken = guest.allocated(DEFAULT)
    # Where it is next to the pool, the two are one.
    assert len(taken) == 1, taken
    assert taken[0].start == ATOMIC_POOL.start
    assert guest.allocated(AREA) == ()
    assert taken[0].end > ATOMIC_POOL.end, "the queue has no memory of the area"
    return AddressRange(ATOMIC_POOL.end, taken[0].end)


def bind(guest: Guest, how: str) -> int:
    """Binds or unbinds the driver; its exit status."""
    name = guest.run("ls /sys/bus/virtio/devices").text.split()[0]
    return guest.run(f"echo {name} >{DRIVER}/{how}", check=False).status


def test_coherent_memory_is_of_the_default_area_and_serves(guest: Guest) -> None:
    place = queue(guest)
    count = place.size // PAGE
    assert place in DEFAULT_WHOLE
    assert count
    assert (place.start // PAGE) % alignment_of(count) == 0
    words = set(guest.run("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | od -An -tx4").text.split())
    assert len(words) > 8, "the device has written where its driver reads"


def test_coherent_memory_is_given_back_and_had_again(guest: Guest) -> None:
    place = queue(guest)
    for _ in range(TIMES):
        assert bind(guest, "unbind") == 0
        assert guest.allocated(DEFAULT) == (ATOMIC_POOL,)
        assert bind(guest, "bind") == 0
        assert queue(guest) == place


def test_a_device_that_finds_the_area_full_takes_other_memory_and_no_page_is_lost(
    guest: Guest,
) -> None:
    """Or is refused, where ARM's own code has no other memory for it."""
    assert bind(guest, "unbind") == 0
    count = (DEFAULT_WHOLE.size - ATOMIC_POOL.size) // PAGE
    debug = guest.debug_dir(DEFAULT)
    guest.run(f"echo {count} >{debug}/alloc")
    refused = version_of(guest.images) < FALLS_BACK
    for how in ("bind", "unbind"):
        assert bind(guest, how) == refused
        assert guest.allocated(DEFAULT) == (DEFAULT_WHOLE,)
        assert guest.allocated(AREA) == ()
    guest.run(f"echo {count} >{debug}/free")
    assert guest.allocated(DEFAULT) == (ATOMIC_POOL,)
    assert bind(guest, "bind") == 0
    assert queue(guest).start == ATOMIC_POOL.end
