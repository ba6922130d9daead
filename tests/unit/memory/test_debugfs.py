# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.memory import (
    AddressRange,
    Coverage,
    Exists,
    MalformedDebugfs,
    debugfs_reading,
    parse_bitmap,
    parse_debugfs,
)
from tests.unit.memory.builders import MIB, capture, files_of, framed_files, quick

PAGE = 4096
AREA = {"a/base_pfn": "432128\n", "a/count": "2048\n", "a/order_per_bit": "0\n"}


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_kernels_give_exact_ranges_and_the_bitmap(version: str) -> None:
    areas = {area.name: area for area in parse_debugfs(files_of(capture(version, "debugfs")))}
    assert areas["BiscuitOS_cma"].range == AddressRange(0x69800000, 0x6A000000)
    assert areas["BiscuitOS_cma"].allocated == ()
    default = areas["linux,cma"]
    assert default.range == AddressRange(0x69000000, 0x69800000)
    assert (default.used, default.maxchunk) == (64, 1984)
    assert default.allocated == (AddressRange.from_size(0x69000000, 64 * PAGE),)
    reading = debugfs_reading(areas.values())
    assert reading.coverage is Coverage.ALL
    assert reading.claims[0].source == "/sys/kernel/debug/cma/BiscuitOS_cma"


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_held_memory_is_where_the_application_printed_it(version: str) -> None:
    files = framed_files(capture(version, "debugfs-held"), "/sys/kernel/debug/cma")
    areas = {area.name: area for area in parse_debugfs(files)}
    # two regions of 1 MiB
    assert areas["BiscuitOS_cma"].allocated == (AddressRange.from_size(0x69800000, 2 * MIB),)
    assert areas["BiscuitOS_cma"].used == 2 * MIB // PAGE


def test_5_0_names_are_completed_from_the_other_witnesses() -> None:
    files = files_of(capture("5.0", "debugfs"))
    known = ["BiscuitOS_cma", "linux,cma"]
    assert {area.name for area in parse_debugfs(files, known_names=known)} == set(known)
    # a name that is not cut is not completed
    short = {path.replace("a/", "cma-linu/"): text for path, text in AREA.items()}
    assert parse_debugfs(short, known_names=known)[0].name == "linu"
    # without them, or where two fit, nothing is guessed
    assert "BiscuitOS_c" in {area.name for area in parse_debugfs(files)}
    two = [*known, "BiscuitOS_cma2"]
    assert "BiscuitOS_c" in {area.name for area in parse_debugfs(files, known_names=two)}


def test_of_areas_whose_cut_names_are_the_same_nothing_is_claimed_nor_missed() -> None:
    files = files_of(capture("5.0", "debugfs"))
    known = ["BiscuitOS_c", "BiscuitOS_cma", "linux,cma"]
    areas = {area.name: area for area in parse_debugfs(files, known_names=known)}
    assert areas["BiscuitOS_c"].may_be == ("BiscuitOS_c", "BiscuitOS_cma")
    reading = debugfs_reading(areas.values())
    assert reading.coverage is Coverage.SOME
    assert [claim.name for claim in reading.claims] == ["linux,cma"]
    assert reading.notes == (
        "/sys/kernel/debug/cma/cma-BiscuitOS_c: the name is cut: BiscuitOS_c or BiscuitOS_cma",
    )


def test_an_area_called_cma_x_keeps_its_name_on_a_new_kernel() -> None:
    files = {path.replace("a/", "cma-a/"): text for path, text in AREA.items()}
    assert parse_debugfs(files, known_names=["cma-a"])[0].name == "cma-a"
    assert parse_debugfs(files, known_names=["a"])[0].name == "a"
    mixed = files | {path.replace("a/", "b/"): text for path, text in AREA.items()}
    assert {area.name for area in parse_debugfs(mixed)} == {"cma-a", "b"}


def test_one_range_of_a_6_15_kernel_is_exact_and_several_only_exist() -> None:
    one = {
        "a/count": "2048",
        "a/ranges/0/base_pfn": "432128",
        "a/ranges/0/bitmap": "1 " + "0 " * 63,
    }
    (area,) = parse_debugfs(one)
    assert area.range == AddressRange(0x69800000, 0x6A000000)
    assert area.allocated == (AddressRange.from_size(0x69800000, PAGE),)
    (area,) = parse_debugfs(one | {"a/ranges/1/base_pfn": "458752"})
    assert area.bases == (0x69800000, 0x70000000)
    (claim,) = debugfs_reading([area]).claims
    assert claim == Exists("a", "/sys/kernel/debug/cma/a", 8 * MIB)


def test_an_area_that_failed_to_be_activated_is_a_note_and_no_claim() -> None:
    reading = debugfs_reading(parse_debugfs(AREA | {"a/count": "0\n"}))
    assert reading.claims == ()
    assert "not active" in reading.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a/count": "many"}, "/sys/kernel/debug/cma/a/count: not a decimal number: 'many'"),
        ({"a/base_pfn": ""}, "base_pfn: not a decimal number"),
        ({"a/count": "-1"}, "not a decimal"),
        ({"a/count": "٣"}, "not a decimal"),
        ({"a/bitmap": "0 0"}, "2 words, and 2048 pages need 64"),
        ({"a/bitmap": "4294967296 " + "0 " * 63}, "more than 32 bits"),
        ({"a/order_per_bit": "99"}, "impossible order_per_bit"),
    ],
)
def test_malformed_files_are_named_and_quoted(change: dict[str, str], words: str) -> None:
    with pytest.raises(MalformedDebugfs) as caught:
        parse_debugfs(AREA | change)
    assert words in str(caught.value)


@pytest.mark.parametrize("missing", ["count", "base_pfn"])
def test_a_missing_file_leaves_the_place_unknown(missing: str) -> None:
    files = {path: text for path, text in AREA.items() if path != f"a/{missing}"}
    with pytest.raises(MalformedDebugfs, match=f"there is no {missing}"):
        parse_debugfs(files)


def test_a_bit_beyond_the_end_is_refused() -> None:
    assert parse_bitmap("1073741824", base=0, count=31) == (AddressRange(30 * PAGE, 31 * PAGE),)
    with pytest.raises(MalformedDebugfs, match="beyond the 31"):
        parse_bitmap("2147483648", base=0, count=31)


@quick
@given(st.data(), st.integers(1, 200), st.integers(0, 3))
def test_a_bitmap_is_the_set_of_its_pages(data: st.DataObject, bits: int, order: int) -> None:
    chosen = data.draw(st.sets(st.integers(0, bits - 1)))
    words = [0] * -(-bits // 32)
    for bit in chosen:
        words[bit // 32] |= 1 << bit % 32
    ranges = parse_bitmap(
        " ".join(map(str, words)) + "\n", base=1 << 30, count=bits << order, order_per_bit=order
    )
    pages = {page for r in ranges for page in range(r.start, r.end, PAGE)}
    assert pages == {
        (1 << 30) + ((bit << order) + page) * PAGE for bit in chosen for page in range(1 << order)
    }


@quick
@given(st.dictionaries(st.sampled_from([*AREA, "a/bitmap", "a/ranges/0/base_pfn"]), st.text()))
def test_arbitrary_files_raise_only_our_errors(files: dict[str, str]) -> None:
    for candidate in (files, AREA | files):
        with contextlib.suppress(MalformedDebugfs):
            debugfs_reading(parse_debugfs(candidate))
