# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.memory import (
    AddressRange,
    Based,
    Coverage,
    Placed,
    Pool,
    RoundedSize,
    parse_dmesg,
)
from harness.memory.dmesg import strip_prefix
from tests.unit.memory.builders import MIB, capture, quick

BOOT = "Booting Linux on physical CPU 0x0\n"
POOL = "Reserved memory: created CMA memory pool at 0x69800000, size 8 MiB\n"
NAME = "OF: reserved mem: initialized node BiscuitOS_cma, compatible id shared-dma-pool\n"


def named(pools: tuple[Pool, ...]) -> dict[str | None, tuple[int, int]]:
    return {pool.name: (pool.base, pool.size.low) for pool in pools}


@pytest.mark.parametrize("version", ["5.0", "6.1", "6.12"])
def test_both_areas_are_paired_with_their_names_and_vram_is_none(version: str) -> None:
    log = parse_dmesg(capture(version, "dmesg"))
    assert named(log.pools) == {
        "linux,cma": (0x69000000, 8 * MIB),
        "BiscuitOS_cma": (0x69800000, 8 * MIB),
    }
    assert log.from_boot
    assert not log.damaged
    # the 6.12 capture ends before its `Memory:` line
    assert log.cma_kib == (None if version == "6.12" else 16384)
    assert log.reading().coverage is Coverage.CREATED
    kind = Placed if version == "6.12" else Based
    assert all(isinstance(claim, kind) for claim in log.reading().claims)


def test_failures_of_a_6_1_boot_name_their_areas() -> None:
    log = parse_dmesg(capture("6.1-layout", "dmesg"))
    assert set(named(log.pools)) == {"wide", "BiscuitOS_cma", "linux,cma", "foo@6c000000"}
    assert [(f.area, f.text.removeprefix("OF: reserved mem: ")) for f in log.failures] == [
        ("twocell", "invalid alignment property in 'twocell' node."),
        ("faraway", "failed to allocate memory for node 'faraway': size 8 MiB"),
        ("odd@6d100000", "Reserved memory: incorrect alignment of CMA region"),
        ("odd@6d100000", "node odd@6d100000 compatible matching fail"),
    ]


def test_failures_of_a_6_12_boot_name_their_areas() -> None:
    log = parse_dmesg(capture("6.12-layout", "dmesg"))
    assert set(named(log.pools)) == {"wide", "BiscuitOS_cma", "linux,cma", "foo@6c000000"}
    assert all(pool.range is not None for pool in log.pools)
    assert [failure.area for failure in log.failures] == ["faraway", "twocell"]


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_the_command_lines_area_is_named_reserved_and_bypasses_the_default(version: str) -> None:
    log = parse_dmesg(capture(f"{version}-cmdline", "dmesg"))
    assert named(log.pools) == {
        "BiscuitOS_cma": (0x69800000, 8 * MIB),
        "reserved": (0x7F000000, 16 * MIB),
    }
    assert {failure.area for failure in log.failures} == {"linux,cma"}
    assert "bypass linux,cma node" in log.failures[0].text


def test_6_12_gives_both_ends_of_cma_areas_only() -> None:
    log = parse_dmesg(
        BOOT
        + "OF: reserved mem: 0x4c000000..0x4c7fffff (8192 KiB) nomap non-reusable v\n"
        + POOL
        + NAME
        + "OF: reserved mem: 0x69800000..0x69ffffff (8192 KiB) map reusable BiscuitOS_cma\n"
        + "cma: Reserved 16 MiB at 0x7f000000 on node -1\n"
    )
    exact, based = log.reading().claims
    assert isinstance(exact, Placed)
    assert exact.range == AddressRange(0x69800000, 0x6A000000)
    assert exact.name == "BiscuitOS_cma"
    assert isinstance(based, Based)
    assert (based.name, based.base) == ("reserved", 0x7F000000)


@pytest.mark.parametrize(
    "prefix",
    ["", "[    0.000000] ", "<6>[    0.000000] ", "<6>", "[    0.000000][    T0] ", "6,7,0,-;"],
)
def test_lines_are_read_with_any_prefix_and_carriage_returns(prefix: str) -> None:
    text = "".join(f"{prefix}{line}\r\r\n" for line in (BOOT + POOL + NAME).splitlines())
    assert named(parse_dmesg(text).pools) == {"BiscuitOS_cma": (0x69800000, 8 * MIB)}
    assert strip_prefix(prefix + "x") == "x"


def test_the_printed_size_keeps_its_resolution() -> None:
    (pool,) = parse_dmesg(POOL.replace("8 MiB", "4 MiB")).pools
    assert pool.size == RoundedSize(4, MIB)
    assert pool.size.admits(4 * MIB)
    assert pool.size.admits(9 * MIB // 2)
    assert not pool.size.admits(5 * MIB)
    assert not pool.size.admits(4 * MIB - 1)


def test_a_pool_whose_name_is_lost_gets_no_other_name() -> None:
    other = POOL.replace("0x69800000", "0x69000000") + NAME.replace("BiscuitOS_cma", "linux,cma")
    log = parse_dmesg(BOOT + POOL + other)
    assert [pool.name for pool in log.pools] == [None, "linux,cma"]
    assert log.reading().coverage is Coverage.SOME  # silence on BiscuitOS_cma proves nothing
    assert "without a name" in log.reading().notes[0]


@pytest.mark.parametrize(
    "lines",
    [
        POOL.replace(", size 8 MiB", "\n") + NAME,  # cut
        POOL.replace(", size 8 MiB", "\n"),
        "cma: Reserved 16 Mi",
        NAME,  # the pool's line is lost
        POOL.replace("0x69800000", "0x6980") + NAME,
    ],
)
def test_a_damaged_log_claims_nothing_and_its_silence_proves_nothing(lines: str) -> None:
    log = parse_dmesg(BOOT + lines)
    assert log.reading().claims == ()
    assert log.reading().coverage is Coverage.SOME


def test_a_dma_pool_is_no_cma_area() -> None:
    log = parse_dmesg(BOOT + POOL.replace("CMA", "DMA") + NAME)
    assert log.pools == ()
    assert log.reading().coverage is Coverage.CREATED


def test_only_the_last_boot_counts() -> None:
    log = parse_dmesg(BOOT + POOL + NAME + BOOT + POOL.replace("0x698", "0x710") + NAME)
    assert [(pool.name, pool.base) for pool in log.pools] == [("BiscuitOS_cma", 0x71000000)]


def test_a_log_without_its_beginning_proves_nothing_by_silence() -> None:
    assert parse_dmesg("[   99.1] usb 1-1: reset\n").reading().coverage is Coverage.SOME


@pytest.mark.parametrize(
    ("line", "area"),
    [
        ("cma: CMA area BiscuitOS_cma could not be activated", "BiscuitOS_cma"),
        ("cma: Failed to reserve 16 MiB", None),
        ("cma: Failed to reserve 16 MiB on node -1", None),
        ("cma: Not enough slots for CMA reserved regions!", None),
        ("Reserved memory: unable to setup CMA region", None),
        (
            "OF: fdt: Reserved memory: failed to reserve memory for node 'x@1': base 0x6, size 8 M",
            "x@1",
        ),
        ("Reserved memory: failed to reserve memory for node 'x@1': base 0x6, size 8 M", "x@1"),
        ("OF: reserved mem: failed to allocate memory for node 'y'", "y"),  # 5.0
        ("OF: fdt: Reserved memory: unsupported node format, ignoring", None),
        ("cma: Region at 0x69000001 must be aligned to 0x00400000 bytes", None),
        ("cma: Size (0x01000000) of region at 0x7f800000 exceeds limit (0x80000000)", None),
    ],
)
def test_failures_are_kept_in_the_kernels_words(line: str, area: str | None) -> None:
    (failure,) = parse_dmesg(f"<3>[    0.000000] {line}\n").failures
    assert (failure.area, failure.text) == (area, line)


def test_a_failure_without_a_name_gets_only_the_name_of_its_own_node() -> None:
    nameless = "Reserved memory: unable to setup CMA region\n"
    other = "cma: CMA area other could not be activated\n"
    assert [f.area for f in parse_dmesg(nameless + other).failures] == [None, "other"]
    fail = "OF: reserved mem: node other compatible matching fail\n"
    assert [f.area for f in parse_dmesg(nameless + fail).failures] == ["other", "other"]
    between = parse_dmesg(nameless + POOL + NAME + fail).failures
    assert [failure.area for failure in between] == [None, "other"]


def test_an_overlap_of_two_lines_names_its_first_area() -> None:
    text = (
        "OF: reserved mem: OVERLAP DETECTED!\n"
        "a@1 (0x60000000--0x60800000) overlaps with b@2 (0x60400000--0x60c00000)\n"
    )
    (failure,) = parse_dmesg(text).failures
    assert failure.area == "a@1"
    assert "overlaps with b@2" in failure.text


@quick
@given(st.text(), st.integers(0, 3000))
def test_arbitrary_text_is_passed_over(text: str, at: int) -> None:
    real = capture("6.1-layout", "dmesg")
    for candidate in (text, real[:at], real[at:], real[:at] + text + real[at:]):
        parse_dmesg(candidate).reading()
