# SPDX-License-Identifier: MIT
"""What is read of the areas from a kernel that calls their directories otherwise."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import cast

import pytest

from harness.guest.cma_state import read_area, read_state
from harness.guest.witnesses import DEBUGFS
from harness.machine.channel import Channel
from harness.memory.errors import MalformedDebugfs
from harness.memory.ranges import AddressRange
from tests.unit.memory.builders import MIB, capture, files_of

OTHERS = {"/proc/meminfo": b"MemTotal: 1 kB\nCmaTotal: 16384 kB\nCmaFree: 16384 kB\n"}
AREA = AddressRange.from_size(0x69800000, 8 * MIB)


class Files:
    """A guest that has these files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def get_many(self, patterns: Sequence[str], _timeout: float) -> dict[str, bytes]:
        return {
            path: content
            for path, content in self.files.items()
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
        }


@pytest.fixture
def old() -> Channel:
    """Linux 5.0, where BiscuitOS_cma is ``cma-BiscuitOS_c``."""
    areas = files_of(capture("5.0", "debugfs"))
    files = {f"{DEBUGFS}/{path}": text.encode() for path, text in areas.items()}
    return cast(Channel, Files({**OTHERS, "/proc/vmstat": b"nr_free_cma 4096\n", **files}))


def test_an_area_of_linux_5_0_is_read_by_its_name(old: Channel) -> None:
    area = read_area(old, "BiscuitOS_cma")
    assert (area.name, area.range) == ("BiscuitOS_cma", AREA)
    with pytest.raises(MalformedDebugfs, match="there is no such area"):
        read_area(old, "Other")


def test_all_areas_of_linux_5_0_are_read_by_their_names(old: Channel) -> None:
    state = read_state(old, ["linux,cma", "BiscuitOS_cma"])
    assert state.areas["BiscuitOS_cma"].range == AREA
    assert state.used("BiscuitOS_cma") == 0
