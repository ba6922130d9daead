# SPDX-License-Identifier: MIT
"""Memory as drivers have it: of the area that a device tree node names, from the DMA interface.

The driver's parameter ``tree`` asks for it: ``of_reserved_mem_device_init_by_idx()`` gives the
device its area, and ``dma_alloc_coherent()`` memory of it, not cached in the kernel's own mapping
(drivers/of/of_reserved_mem.c, kernel/dma/contiguous.c, arch/arm/mm/dma-mapping.c). It is also the
driver's only way on a kernel that exports nothing of CMA.
"""

from __future__ import annotations

import pytest

from harness.guest.guest import AREA, Guest
from harness.machine.errors import CommandFailed
from harness.memory.ranges import AddressRange, merged

from .support import DEFAULT_WHOLE, MIB, PAGE, SLUB_DEBUG, WHOLE, no_growth
from .test_at_boot import DEFAULT, mappings

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas", "debugfs", "app-script", "module-tree"),
]

OTHER = {AREA: DEFAULT, DEFAULT: AREA}
NODE = "/proc/device-tree/cma-demo/memory-region"


@pytest.fixture
def guest(guest: Guest) -> Guest:
    if guest.run(f"ls {NODE}", check=False).status:
        pytest.skip(f"needs a node that names the areas as its memory-region: there is no {NODE}")
    return guest


@pytest.mark.parametrize(
    ("named", "area", "whole"),
    [(AREA, AREA, WHOLE), (DEFAULT, DEFAULT, DEFAULT_WHOLE), ("default", DEFAULT, DEFAULT_WHOLE)],
)
def test_a_device_s_memory_is_of_the_area_that_its_node_names(
    guest: Guest, named: str, area: str, whole: AddressRange
) -> None:
    guest.insmod(f"tree=1 area={named}")
    before, other = guest.allocated(area), guest.allocated(OTHER[area])
    with guest.script() as app:
        regions = [app.alloc(size) for size in (MIB, 3 * PAGE, PAGE)]
        assert all(region in whole for region in regions)
        assert guest.allocated(area) == merged([*before, *regions])
        assert guest.allocated(OTHER[area]) == other
        for number, region in enumerate(regions):
            app.command(f"zero {region.start} {region.size}")
            app.fill(number, region)
        for number, region in enumerate(regions):
            app.check(number, region)
            app.release(region)
        assert guest.allocated(area) == before
    guest.rmmod()


def test_all_of_the_area_can_be_had_and_no_other_memory(guest: Guest) -> None:
    guest.insmod(f"tree=1 area={AREA}")
    with guest.script() as app:
        assert app.alloc(WHOLE.size) == WHOLE
        assert app.error(f"alloc {PAGE}") == "ENOMEM"
        app.kill()
    assert guest.allocated() == ()


def test_an_area_that_no_node_names_is_refused(guest: Guest) -> None:
    with pytest.raises(CommandFailed):
        guest.insmod("tree=1 area=BiscuitOS")
    guest.insmod(f"tree=1 area={AREA}:{DEFAULT}")


@pytest.mark.needs("page-tables")
def test_coherent_memory_is_not_cached_until_it_is_given_back(guest: Guest) -> None:
    def cached(region: AddressRange) -> bool:
        return any(
            region in place and any("/CACHED/" in flag for flag in flags)
            for place, _, flags in mappings(guest)
        )

    guest.insmod(f"tree=1 area={AREA}")
    with guest.script() as app:
        region = app.alloc(16 * PAGE)
        assert not cached(region)
        assert cached(AddressRange.from_size(region.end, PAGE))
        app.release(region)
        assert cached(region)


@pytest.mark.machine("clone", append=SLUB_DEBUG)
def test_no_object_is_left_of_what_was_given_back(guest: Guest) -> None:
    guest.insmod(f"tree=1 area={AREA}")
    with guest.script() as app, no_growth(guest, 50):
        app.command(f"repeat 50 cycle {PAGE}")
