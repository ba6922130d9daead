# SPDX-License-Identifier: MIT
"""Functions by their addresses."""

from __future__ import annotations

import pytest

from harness.imageset.symtab import Functions


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(0x104, 0x108)], [(0x100, 0x120)]),
        ([(0x104, 0x108), (0x110, 0x114)], [(0x100, 0x120)]),
        ([(0x11C, 0x124)], [(0x100, 0x140)]),
        ([(0x204, 0x208), (0x104, 0x108)], [(0x100, 0x120), (0x200, 0x210)]),
        ([(0x180, 0x184)], [(0x180, 0x184)]),
        ([(0x80, 0x84)], [(0x80, 0x84)]),
        ([], []),
    ],
)
def test_ranges_with_all_of_the_functions_that_they_are_in(
    ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    functions = Functions((0x100, 0x120, 0x200), (0x120, 0x140, 0x210), ("a", "b", "c"))
    assert functions.around(ranges) == expected
