# SPDX-License-Identifier: MIT
"""``cma=`` as the kernel itself reads it, and what follows for the area."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.memory import (
    AddressRange,
    Based,
    CannotPlace,
    Coverage,
    Reading,
    RoundedSize,
    SizeMismatch,
    Windowed,
    cma_alignment,
    read_command_line,
    read_configured_size,
    reconcile,
)
from harness.memory.cmdline import memparse
from tests.unit.memory.builders import MIB, quick


def asked(text: str, alignment: int | None = None) -> Windowed:
    reading = read_command_line(text, alignment=alignment)
    assert reading is not None
    assert not reading.observes
    (claim,) = reading.claims
    assert isinstance(claim, Windowed)
    assert claim.name == "reserved"
    return claim


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("64MB", 64 * MIB, "B"),
        ("16M@", 16 * MIB, "@"),
        ("64", 64, ""),
        ("64k", 64 << 10, ""),
        ("1g,2", 1 << 30, ",2"),
        ("0x4000000", 0x4000000, ""),
        ("0X10M", 16 * MIB, ""),
        ("0x", 0, "x"),
        ("010M", 8 * MIB, ""),
        ("09", 0, "9"),
        ("", 0, ""),
        ("much", 0, "much"),
        ("-5M", 0, "-5M"),
        ("4.5M", 4, ".5M"),
        ("1T", 1 << 40, ""),
    ],
)
def test_numbers_are_read_as_memparse_reads_them(text: str, value: int, rest: str) -> None:
    assert memparse(text) == (value, rest)


@pytest.mark.parametrize(
    ("text", "size", "windows"),
    [
        ("console=ttyAMA0 cma=16M", 16 * MIB, ()),
        ("console=ttyAMA0 rootwait cma=64MB", 64 * MIB, ()),
        ("ro quiet LANG=en_US.UTF-8 cma=192MB cma=256MB", 256 * MIB, ()),
        ("cma=64MiB", 64 * MIB, ()),
        ("cma=64M,high", 64 * MIB, ()),
        ('cma="64M" quiet', 64 * MIB, ()),
        ('"cma=64M"', 64 * MIB, ()),
        ('dyndbg="file mm/cma.c cma=1M" cma=64M', 64 * MIB, ()),
        ("cma=64M -- cma=1M", 64 * MIB, ()),
        ("cma=0x1000000", 16 * MIB, ()),
        ("cma=16M@", 16 * MIB, ((0, 16 * MIB),)),
        ("cma=8M@0x70000000", 8 * MIB, ((0x70000000, 0x70800000),)),
        ("cma=8MB@0x70000000", 8 * MIB, ()),
        ("cma=8m@1792M-0x78000000", 8 * MIB, ((0x70000000, 0x78000000),)),
        ("cma=8M@0x70000000-", 8 * MIB, ((0x70000000, 1 << 40),)),
        ("cma=4M cma=8M", 8 * MIB, ()),
        ("cma=64M\xa0cma=8M", 8 * MIB, ()),
        ("cma=64M\u2003cma=8M", 64 * MIB, ()),
        ("cma_pernuma=64M cma=8M numa_cma=0:1M", 8 * MIB, ()),
        ('foo="bar cma=64M" cma=1G,x', 1 << 30, ()),
        ("cma=100000000@0x60000000-0x70000000", 10**8, ((0x60000000, 0x70000000),)),
        ("CMA=64M cma=0100000000", 16 * MIB, ()),
        ("cma=16M@0x70000000 cma=8M", 8 * MIB, ((0x70000000, 0x71000000),)),
    ],
)
def test_the_kernel_s_own_reading(
    text: str, size: int, windows: tuple[tuple[int, int], ...]
) -> None:
    claim = asked(text)
    assert claim.size == size
    assert claim.windows == tuple(AddressRange(*pair) for pair in windows)


@pytest.mark.parametrize(
    "text",
    ["", "xcma=16M quiet", "cma=0", "cma=16M cma=0", "cma", "cma=", "-- cma=16M", "hugetlb_cma=8M"],
)
def test_no_area_on_the_command_line(text: str) -> None:
    assert read_command_line(text) is None


@pytest.mark.parametrize("text", ["cma=much", "cma=8M@0x70000000-0x60000000", "cma=-8M"])
def test_what_the_kernel_refuses_is_a_failure_with_the_reason(text: str) -> None:
    reading = read_command_line(text)
    assert reading is not None
    assert reading.claims == ()
    (failure,) = reading.failures
    assert failure.area == "reserved"
    assert text in failure.text


@pytest.mark.parametrize("text", ["cma=4G", "cma=4097M", "cma=16E", "cma=99999999999999999999"])
def test_from_what_has_more_than_32_bits_nothing_follows(text: str) -> None:
    reading = read_command_line(text)
    assert reading is not None
    assert (reading.claims, reading.failures) == ((), ())
    assert f"{text}: more than 32 bits" in reading.notes[0]


@quick
@given(st.text())
def test_no_text_is_refused(text: str) -> None:
    read_command_line("cma=" + text)
    read_command_line(text)


# Alignment


@pytest.mark.parametrize(("alignment", "size"), [(4 * MIB, 12 * MIB), (32 * MIB, 32 * MIB)])
def test_a_known_alignment_makes_the_size_exact(alignment: int, size: int) -> None:
    claim = asked("cma=10M", alignment)
    assert (claim.size, claim.sizes, claim.rounds_up) == (size, (size,), False)
    configured = read_configured_size(10, alignment=alignment)
    assert configured is not None
    assert configured.claims[0].size == size  # type: ignore[union-attr]
    assert read_configured_size(0) is None


def logged(mebibytes: int) -> Reading:
    claim = Based("reserved", 0x7E000000, RoundedSize(mebibytes, MIB), "dmesg line 6")
    return Reading("dmesg", "dmesg", Coverage.CREATED, (claim,))


@pytest.mark.parametrize("mebibytes", [10, 12, 16, 32])
def test_any_alignment_that_a_kernel_may_have_places_the_area(mebibytes: int) -> None:
    reading = read_command_line("cma=10M")
    assert reading is not None
    area = reconcile([reading, logged(mebibytes)], require=["reserved"]).area("reserved")
    assert area.range == AddressRange.from_size(0x7E000000, mebibytes * MIB)


@pytest.mark.parametrize("mebibytes", [8, 11, 13, 24, 40])
def test_a_size_that_no_alignment_gives_is_a_mismatch(mebibytes: int) -> None:
    reading = read_command_line("cma=10M")
    assert reading is not None
    with pytest.raises(SizeMismatch):
        reconcile([reading, logged(mebibytes)])


def test_a_size_that_is_not_known_places_nothing_by_its_window_alone() -> None:
    reading = read_command_line("cma=8M@0x70000000")
    assert reading is not None
    with pytest.raises(CannotPlace):
        reconcile([reading], require=["reserved"])


PAGETYPEINFO = """Page block order: {order}
Pages per block:  {pages}

Free pages count per migrate type at order {orders}
Node    0, zone   Normal, type    Unmovable      0      2      3
"""


@pytest.mark.parametrize(
    ("block", "largest", "expected"),
    [(10, 10, 4 * MIB), (13, 13, 32 * MIB), (9, 10, None), (11, 11, 8 * MIB)],
)
def test_the_alignment_of_a_running_kernel(block: int, largest: int, expected: int | None) -> None:
    orders = " ".join(f"{order:6}" for order in range(largest + 1))
    text = PAGETYPEINFO.format(order=block, pages=1 << block, orders=orders)
    assert cma_alignment(text) == expected
    assert cma_alignment("") is None
