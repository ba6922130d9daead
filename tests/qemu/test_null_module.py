# SPDX-License-Identifier: MIT
"""The driver without its start and its end, which the suite compares the driver with."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guest.guest import Guest
from harness.imageset.module import without_init
from tests.cma.support import NULL_MODULE, SLUB_DEBUG, kept_of_any_module

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver"),
    pytest.mark.machine("clone", append=SLUB_DEBUG),
]


def test_it_is_loaded_does_nothing_and_is_unloaded(guest: Guest) -> None:
    path = guest.module_path()
    guest.write_file(NULL_MODULE, without_init(Path(path), guest.read_file(path)))
    before = guest.run("dmesg | grep -c Find.CMA", check=False).text
    guest.run(f"insmod {NULL_MODULE}")
    assert guest.module_name() in guest.modules()
    assert guest.run("[ -e /dev/CMA_demo ]", check=False).status == 1
    guest.run(f"rmmod {guest.module_name()}")
    assert guest.run("dmesg | grep -c Find.CMA", check=False).text == before


def test_a_kernel_that_keeps_nothing_of_a_module_keeps_nothing_of_it(guest: Guest) -> None:
    assert not any(kept_of_any_module(guest, 20).values())
