# SPDX-License-Identifier: MIT
"""Addresses in failed assertions are hexadecimal."""

from __future__ import annotations

import pytest

from harness.memory.ranges import AddressRange
from harness.pytest_plugin.addresses import explain, text

pytest_plugins = ["pytester"]

AREA, BELOW = AddressRange(0x69800000, 0x6A000000), AddressRange(0x69100000, 0x69200000)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0x69800000, "0x69800000"),
        (0x1000_0000, "0x10000000"),
        (0x0FFF_FFFF, "268435455"),
        (True, "True"),
        (-0x69800000, "-1769996288"),
        ([0x69800000, "a", 7], "[0x69800000, 'a', 7]"),
        ((0x69800000,), "(0x69800000,)"),
        ({"a": [0x69800000], 0x60000000: None}, "{'a': [0x69800000], 0x60000000: None}"),
        ({0x69800000}, "{0x69800000}"),
        (AREA, "AddressRange(0x69800000, 0x6a000000)"),
    ],
)
def test_a_value_has_its_addresses_in_hexadecimal(value: object, shown: str) -> None:
    assert text(value) == shown


@pytest.mark.parametrize(
    ("op", "left", "right", "lines"),
    [
        ("==", 1, 2, None),
        ("==", "a", 0x69800000, ["'a' == 0x69800000"]),
        (
            "==",
            0x69100000,
            0x69800000,
            ["0x69100000 == 0x69800000", "the left one is 0x700000 lower"],
        ),
        ("<", 0x69900000, 0x69800000, ["0x69900000 < 0x69800000"]),
        (
            "in",
            BELOW,
            AREA,
            [
                "0x69100000-0x691fffff in 0x69800000-0x69ffffff",
                "the left one is 7 MiB below it",
                "sizes: 1 MiB and 8 MiB",
            ],
        ),
        ("in", 0x69100000, AREA, ["0x69100000 in 0x69800000-0x69ffffff"]),
        (
            "==",
            [0x69800000, 0x69900000],
            [0x69800000, 0x69A00000, 0x69B00000],
            [
                "[0x69800000, 0x69900000] == [0x69800000, 0x69a00000, 0x69b00000]",
                "at index 1: 0x69900000 != 0x69a00000",
                "only right: 0x69b00000",
            ],
        ),
        (
            "==",
            {"a": 0x69800000, "b": 1},
            {"a": 0x69900000, "c": 2},
            [
                "{'a': 0x69800000, 'b': 1} == {'a': 0x69900000, 'c': 2}",
                "at 'a': 0x69800000 != 0x69900000",
                "only left: 'b': 1",
                "only right: 'c': 2",
            ],
        ),
        (
            "==",
            {0x69800000},
            {0x69900000},
            [
                "{0x69800000} == {0x69900000}",
                "only left: 0x69800000",
                "only right: 0x69900000",
            ],
        ),
    ],
)
def test_a_comparison_is_explained(
    op: str, left: object, right: object, lines: list[str] | None
) -> None:
    assert explain(op, left, right) == lines


TEST = """
import pytest
from harness.memory.ranges import AddressRange

class Result:
    phys = 0x69100000

@pytest.fixture
def qemu_session():
    pass

def test_guest(qemu_session):
    assert Result().phys == 0x69800000

def test_places(qemu_session):
    assert [Result().phys, 0x69200000] == [0x69100000, 0x69300000]

def test_where(qemu_session):
    assert not Result().phys

def test_range():
    assert AddressRange(0x69100000, 0x69200000) in AddressRange(0x69800000, 0x6a000000)

def test_stranger():
    assert 1764258423 == 1764258424
"""


def test_failures_show_them_where_a_test_has_a_guest_and_leave_others_alone(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        'pytest_plugins = ["harness.pytest_plugin"]\n'
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        item.own_markers.clear()\n"
    )
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "E*assert 0x69100000 == 0x69800000",
            "E*the left one is 0x700000 lower",
            "E*assert ?0x69100000, 0x69200000? == ?0x69100000, 0x69300000?",
            "E*at index 1: 0x69200000 != 0x69300000",
            "E*where 0x69100000 = <*Result object*>.phys",
            "E*assert 0x69100000-0x691fffff in 0x69800000-0x69ffffff",
            "E*the left one is 7 MiB below it",
            "E*assert 1764258423 == 1764258424",
        ]
    )
