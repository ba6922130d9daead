# SPDX-License-Identifier: MIT
"""Each area's dma-buf heap: its memory comes from that area, as the host finds it in RAM.

No driver takes part, and no file of ours in the kernel.
"""

from __future__ import annotations

import dataclasses

import pytest

from harness.explore.firstfit import FirstFit
from harness.guest.guest import AREA, Guest
from harness.guest.heap import DEFAULT_HEAP, HEAPS
from harness.imageset.features import Feature
from harness.machine.config import MachineConfig
from harness.memory.errors import WrongArea
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.boots import Boots

from .support import (
    DEFAULT_WHOLE,
    MIB,
    PAGE,
    PAGES,
    SLUB_DEBUG,
    WHOLE,
    no_growth,
    pages,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("two-areas", "heaps", "app-script"),
]

DEFAULT = "linux,cma"


def test_each_area_has_a_heap_of_its_name_and_the_default_one_another(guest: Guest) -> None:
    assert set(guest.run(f"ls {HEAPS}").text.split()) == {AREA, DEFAULT, DEFAULT_HEAP}


@pytest.mark.parametrize(
    ("area", "whole"), [(AREA, WHOLE), (DEFAULT, DEFAULT_WHOLE), ("", DEFAULT_WHOLE)]
)
def test_a_heap_gives_memory_of_its_area(guest: Guest, area: str, whole: AddressRange) -> None:
    with guest.heap_script(area) as app:
        first, second = app.alloc(MIB), app.alloc(3 * PAGE)
        assert first in whole
        assert second in whole
        assert not first.overlaps(second)
        for number, region in enumerate((first, second)):
            app.command(f"zero {region.start} {region.size}")
            app.fill(number, region)
        app.check(0, first)
        app.release(first)
        assert app.alloc(MIB) == first
        app.command(f"zero {first.start} {first.size}")


def test_a_buffer_is_aligned_by_its_length(guest: Guest) -> None:
    with guest.heap_script(AREA) as app:
        model = FirstFit(PAGES)
        for count in (1, 16, 3, 64, 1, 512, 2):
            place = model.alloc(count)
            assert place is not None
            assert app.alloc(count * PAGE) == pages(place, count)


@pytest.mark.machine("clone", append=SLUB_DEBUG)
def test_a_buffer_that_is_given_back_leaves_no_object(guest: Guest) -> None:
    """With 64 pages, the list of its pages is an object of 256 bytes."""
    with guest.heap_script(AREA) as app, no_growth(guest, 20):
        for _ in range(20):
            app.release(app.alloc(64 * PAGE))


def test_all_of_an_area_can_be_had_and_no_more(guest: Guest) -> None:
    """The kernel itself has taken some of the default area."""
    with guest.heap_script(AREA) as app:
        assert app.alloc(WHOLE.size) == WHOLE
        assert app.error(f"alloc {PAGE}") == "ENOMEM"


def test_memory_of_another_area_s_heap_is_rejected(guest: Guest) -> None:
    with guest.heap_script(DEFAULT) as app, pytest.raises(WrongArea, match=r"is in linux,cma"):
        guest.judge(app.alloc(MIB))


def test_the_main_job_needs_no_driver(boots: Boots, machine_config: MachineConfig) -> None:
    """What a kernel gets for which there is no module."""
    images = machine_config.images
    features = images.features | {Feature.HEAP_ONLY}
    alone = dataclasses.replace(images, module=None, features=features)
    guest = boots.cold(dataclasses.replace(machine_config, images=alone))
    result = guest.main_job()
    assert result.region.phys == AddressRange(WHOLE.start, WHOLE.start + MIB)
    assert result.region.title == f"found by the host, from {HEAPS}/{AREA}"
    guest.insmod("area=default")
    with pytest.raises(WrongArea, match=r"is in linux,cma .*expected BiscuitOS_cma"):
        guest.judge(guest.run_app()[0].phys)


def test_what_a_killed_process_had_can_be_had_again(guest: Guest) -> None:
    with guest.heap_script(AREA) as app:
        assert app.alloc(WHOLE.size) == WHOLE
        app.kill()
    with guest.heap_script(AREA) as app:
        assert app.alloc(WHOLE.size) == WHOLE


def test_the_area_of_the_command_line_has_a_heap_too(
    boots: Boots, machine_config: MachineConfig
) -> None:
    append = f"{machine_config.append} cma=8M@0x6c000000".strip()
    guest = boots.cold(dataclasses.replace(machine_config, append=append))
    with guest.heap_script("reserved") as app, guest.heap_script() as default:
        whole = AddressRange.from_size(0x6C000000, 8 * MIB)
        one, two = app.alloc(PAGE), default.alloc(PAGE)
        assert one in whole
        assert two in whole
        assert one != two
