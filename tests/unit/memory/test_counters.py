# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.memory import (
    CmaCounters,
    Coverage,
    Exists,
    MalformedCommandLine,
    MalformedCounter,
    Windowed,
    parse_meminfo,
    parse_sysfs,
    parse_vmstat,
    read_command_line,
    read_configured_size,
    sysfs_reading,
)
from harness.memory.ranges import AddressRange
from tests.unit.memory.builders import MIB, capture, files_of, quick


def test_counters_of_a_6_1_guest() -> None:
    meminfo = parse_meminfo(capture("6.1", "meminfo"))
    assert meminfo is not None
    assert (meminfo.total, meminfo.free) == (16 * MIB, 16128 * 1024)
    assert parse_vmstat(capture("6.1", "vmstat"))["cma_alloc_success"] == 1
    areas = parse_sysfs(files_of(capture("6.1", "sysfs")))
    assert CmaCounters("linux,cma", 64, 0) in areas
    reading = sysfs_reading(areas)
    assert all(isinstance(claim, Exists) and claim.size is None for claim in reading.claims)
    assert reading.coverage is Coverage.CREATED


def test_6_12_counts_released_pages_too() -> None:
    files = {
        "a/alloc_pages_success": "3",
        "a/alloc_pages_fail": "1",
        "a/release_pages_success": "2",
    }
    assert parse_sysfs(files) == (CmaCounters("a", 3, 1, 2),)


def test_a_kernel_without_cma_has_none_in_meminfo() -> None:
    assert parse_meminfo("MemTotal:  500000 kB\n") is None


@pytest.mark.parametrize(
    "text",
    ["CmaTotal: x kB\n", "CmaTotal: 16 MB\n", "CmaTotal: 16 kB\n", "CmaTotal: 1 kB\nCmaFree:"],
)
def test_malformed_meminfo(text: str) -> None:
    with pytest.raises(MalformedCounter, match="/proc/meminfo"):
        parse_meminfo(text)


def test_malformed_vmstat_and_sysfs() -> None:
    with pytest.raises(MalformedCounter, match="line 2"):
        parse_vmstat("nr_free_cma 1\ncma_alloc_success\n")
    with pytest.raises(MalformedCounter, match="there is no alloc_pages_fail"):
        parse_sysfs({"a/alloc_pages_success": "3"})


@pytest.mark.parametrize(
    ("text", "size", "windows"),
    [
        ("console=ttyAMA0 cma=16M", 16 * MIB, ()),
        ("cma=5M", 8 * MIB, ()),
        ("cma=0x1000000", 16 * MIB, ()),
        ("cma=8M@0x70000000", 8 * MIB, ((0x70000000, 0x70800000),)),
        ("cma=8m@1792M-0x78000000", 8 * MIB, ((0x70000000, 0x78000000),)),
        ("cma=4M cma=8M", 8 * MIB, ()),
    ],
)
def test_command_line(text: str, size: int, windows: tuple[tuple[int, int], ...]) -> None:
    reading = read_command_line(text)
    assert reading is not None
    assert not reading.observes
    (claim,) = reading.claims
    assert isinstance(claim, Windowed)
    assert (claim.name, claim.size) == ("reserved", size)
    assert claim.windows == tuple(AddressRange(*pair) for pair in windows)


@pytest.mark.parametrize("text", ["", "xcma=16M quiet", "cma=0", "cma=16M cma=0"])
def test_no_area_on_the_command_line(text: str) -> None:
    assert read_command_line(text) is None


@pytest.mark.parametrize(
    "text", ["cma=", "cma=much", "cma=8M@", "cma=8M@0x70000000-0x60000000", "cma=09"]
)
def test_malformed_command_line(text: str) -> None:
    with pytest.raises(MalformedCommandLine):
        read_command_line(text)


def test_configured_size() -> None:
    reading = read_configured_size(10)
    assert reading is not None
    (claim,) = reading.claims
    assert isinstance(claim, Windowed)
    assert claim.size == 12 * MIB
    assert read_configured_size(0) is None


@quick
@given(st.text())
def test_arbitrary_text_raises_only_our_errors(text: str) -> None:
    with contextlib.suppress(MalformedCounter):
        parse_meminfo("CmaTotal:" + text)
    with contextlib.suppress(MalformedCounter):
        parse_vmstat(text)
    with contextlib.suppress(MalformedCounter):
        parse_sysfs({"a/alloc_pages_success": text, text: text})
    with contextlib.suppress(MalformedCommandLine):
        read_command_line("cma=" + text)
