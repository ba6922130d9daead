# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import JudgementError, Verdict
from harness.memory import (
    AddressRange,
    AppOutputError,
    ContradictoryAppOutput,
    EmptyAllocation,
    MissingAppLine,
    UnparsableAddress,
    parse_app_output,
)
from tests.unit.memory.builders import capture, quick

GOOD = """CMA region: BiscuitOS CMA area
Phys: 0x69800000 - 0x69900000
Virt: 0x89800000 - 0x89900000
"""


@pytest.mark.parametrize("version", ["5.0", "6.1", "6.12"])
def test_the_ends_are_exclusive(version: str) -> None:
    (region,) = parse_app_output(capture(version, "app"))
    assert region.phys == AddressRange(0x69800000, 0x69900000)
    assert region.virt == AddressRange(0x89800000, 0x89900000)
    assert region.title == "BiscuitOS CMA area"


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_kernel_messages_before_the_output_of_a_guest_do_not_matter(version: str) -> None:
    (region,) = parse_app_output(capture(version, "app-messages"))
    assert region.phys == AddressRange(0x69800000, 0x69900000)


def test_several_regions_come_in_their_order() -> None:
    regions = parse_app_output(capture("6.1", "app-count"))
    assert [r.phys.start for r in regions] == [0x69800000, 0x69900000, 0x69A00000]


def test_regions_without_title_have_to_be_asked_for() -> None:
    text = capture("6.1", "app-pattern")
    regions = parse_app_output(text, titled=False)
    assert [r.phys.start for r in regions] == [0x69800000, 0x69900000]
    with pytest.raises(MissingAppLine, match="before any `CMA region:`"):
        parse_app_output(text)


def test_kernel_messages_and_carriage_returns_between_the_lines_do_not_matter() -> None:
    noise = "[   12.345678] cma: Phys: 0x1 - 0x2\r\r\n"
    text = noise + noise.join(line + "\r\n" for line in GOOD.splitlines()) + noise
    assert parse_app_output(text) == parse_app_output(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("CMA region: BiscuitOS CMA area\n", "", MissingAppLine, "before any `CMA region:`"),
        (
            "Phys: 0x69800000 - 0x69900000\n",
            "",
            MissingAppLine,
            "no Phys: for the region of line 1",
        ),
        ("Virt: 0x89800000 - 0x89900000\n", "", MissingAppLine, "no Virt:"),
        (" - 0x69900000", "", UnparsableAddress, "line 2: Phys: is not"),
        ("0x69800000", "69800000", UnparsableAddress, "'Phys: 69800000 - 0x69900000'"),
        ("0x69800000", "(nil)", UnparsableAddress, "(nil)"),
        ("0x69900000", "0x6990[   1.0] oops", UnparsableAddress, "oops"),
        ("0x69900000", "0x69900000x", UnparsableAddress, "0x69900000x"),
        ("0x69900000", "0x69800000", EmptyAllocation, "not above the start"),
        ("0x69900000", "0x69700000", EmptyAllocation, "not above the start"),
        ("0x69900000", "0x69a00000", ContradictoryAppOutput, "2 MiB of physical memory"),
        ("Virt:", "Phys: 0x1000 - 0x2000\nVirt:", ContradictoryAppOutput, "a second Phys:"),
    ],
)
def test_each_fault_has_an_error_that_quotes_what_was_read(
    old: str, new: str, kind: type[AppOutputError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        parse_app_output(GOOD.replace(old, new))
    assert words in str(caught.value)
    assert isinstance(caught.value, JudgementError)
    assert caught.value.verdict is Verdict.PRODUCT


def test_a_second_region_must_be_whole_too() -> None:
    with pytest.raises(MissingAppLine, match="no Phys: for the region of line 4"):
        parse_app_output(GOOD + "CMA region: x\n")


def test_no_output_is_a_missing_line() -> None:
    with pytest.raises(MissingAppLine, match="there is no `CMA region:`"):
        parse_app_output("")
    with pytest.raises(MissingAppLine, match="there is no `Phys:`"):
        parse_app_output("", titled=False)


@quick
@given(st.text(), st.integers(0, len(GOOD)), st.booleans())
def test_arbitrary_output_raises_only_our_errors(text: str, at: int, titled: bool) -> None:
    for candidate in (text, GOOD[:at] + text + GOOD[at:], GOOD[:at]):
        with contextlib.suppress(AppOutputError):
            assert parse_app_output(candidate, titled=titled)
