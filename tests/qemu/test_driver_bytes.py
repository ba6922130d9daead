# SPDX-License-Identifier: MIT
"""The driver's code and data are the same wherever its kernel's tree lies: gates compare them."""

from __future__ import annotations

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from harness.builders.cache import cache_root
from harness.imageset.model import ImageSet


def test_nothing_that_is_loaded_names_a_directory_of_this_host(image_set: ImageSet) -> None:
    if image_set.module is None or not image_set.module.is_relative_to(cache_root()):
        pytest.skip("needs a driver that was built here: another was given")
    with image_set.module.open("rb") as file:
        loaded = [
            section.data()
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
        ]
    assert any(b"cma.c" in data for data in loaded), "else it proves nothing"
    assert not any(str(cache_root()).encode() in data for data in loaded)
