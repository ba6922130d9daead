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
    MalformedCounter,
    parse_meminfo,
    parse_sysfs,
    parse_vmstat,
    sysfs_reading,
)
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


@quick
@given(st.text())
def test_arbitrary_text_raises_only_our_errors(text: str) -> None:
    with contextlib.suppress(MalformedCounter):
        parse_meminfo("CmaTotal:" + text)
    with contextlib.suppress(MalformedCounter):
        parse_vmstat(text)
    with contextlib.suppress(MalformedCounter):
        parse_sysfs({"a/alloc_pages_success": text, text: text})
