# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Verdict
from harness.memory import (
    Absent,
    AddressRange,
    AreaOutsideWindow,
    Based,
    Claim,
    Coverage,
    Exists,
    MissingIomemLine,
    Placed,
    Reading,
    RoundedSize,
    SizeMismatch,
    Windowed,
    WitnessDisagreement,
    parse_iomem,
    read_live_tree,
    reconcile,
)
from tests.unit.memory.builders import (
    MIB,
    NAMES,
    all_witnesses,
    based,
    capture,
    dtb,
    live_tree,
    observed,
    placed,
    quick,
)


@pytest.mark.parametrize(
    ("claims", "kind", "words"),
    [
        ([placed(0x69810000)], AreaOutsideWindow, "outside the window"),
        ([placed(0x69400000)], AreaOutsideWindow, "outside the window"),
        ([placed(size=8 * MIB - 4096)], SizeMismatch, "not what was declared"),
        ([placed(size=8 * MIB + 4096)], SizeMismatch, "not what was declared"),
        ([based(0x69800000, 7)], SizeMismatch, "7 MiB (rounded down)"),
        ([based(0x69801000, 8)], AreaOutsideWindow, "0x69801000"),
        ([Exists("BiscuitOS_cma", "/sys/x", 4 * MIB)], SizeMismatch, "4 MiB"),
    ],
)
def test_an_area_unlike_its_declaration_is_reported_with_both_sides(
    claims: list[Claim], kind: type[WitnessDisagreement], words: str
) -> None:
    for order in itertools.permutations([dtb(), observed(*claims)]):
        with pytest.raises(kind) as caught:
            reconcile(order)
        message = str(caught.value)
        assert words in message
        assert "board.dtb /reserved-memory/BiscuitOS_cma" in message
        assert caught.value.verdict is Verdict.PRODUCT
        assert {caught.value.first[0], caught.value.second[0]} == {"device tree", "debugfs"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (placed(), placed(0x69801000)),
        (placed(), placed(size=8 * MIB + 4096)),
        (placed(), based(0x69900000)),
        (placed(), based(mebibytes=9)),
        (placed(), based(mebibytes=7)),
        (based(0x69800000), based(0x69C00000)),
        (placed(), Exists("BiscuitOS_cma", "/sys/x", MIB)),
    ],
)
def test_two_witnesses_of_the_running_kernel_that_disagree_are_both_named(
    one: Claim, two: Claim
) -> None:
    readings = [observed(one, witness="dmesg"), observed(two, witness="debugfs")]
    for order in (readings, readings[::-1]):
        with pytest.raises(WitnessDisagreement) as caught:
            reconcile(order)
        assert {caught.value.first[0], caught.value.second[0]} == {"dmesg", "debugfs"}
        assert {caught.value.first[2], caught.value.second[2]} == {str(one), str(two)}
        assert caught.value.area == "BiscuitOS_cma"


def test_a_rounded_size_disagrees_with_nothing_that_it_admits() -> None:
    exact = placed(size=9 * MIB // 2)
    memory_map = reconcile([observed(exact), observed(based(mebibytes=4), witness="dmesg")])
    assert memory_map.area("BiscuitOS_cma").range.size == 9 * MIB // 2


@pytest.mark.parametrize("change", ["size", "alloc-ranges", "reg"])
def test_a_guest_that_booted_another_device_tree_is_found_out(change: str) -> None:
    raw = {"size": "00400000", "alloc-ranges": "7000000000800000", "reg": "6980000000800000"}
    path = f"reserved-memory/BiscuitOS_cma/{change}"
    live = read_live_tree(live_tree("6.1") | {path: bytes.fromhex(raw[change])}).reading()
    with pytest.raises(WitnessDisagreement) as caught:
        reconcile([dtb(), live])
    assert {caught.value.first[0], caught.value.second[0]} == {"device tree", "live device tree"}


def without(reading: Reading | Absent, name: str) -> Reading:
    assert isinstance(reading, Reading)
    claims = tuple(claim for claim in reading.claims if claim.name != name)
    return Reading(
        reading.witness, reading.source, reading.coverage, claims, reading.ram, reading.kernel
    )


def test_a_missing_iomem_line_is_an_error_of_its_own() -> None:
    live, log, iomem, debugfs, sysfs = all_witnesses("6.1")
    witnesses: list[Reading | Absent] = [live, log, without(iomem, "BiscuitOS_cma"), debugfs, sysfs]
    with pytest.raises(MissingIomemLine, match=r"BiscuitOS_cma.*it lists linux,cma") as caught:
        reconcile(witnesses, features=["iomem-cma"])
    assert (caught.value.area, caught.value.listed) == ("BiscuitOS_cma", ("linux,cma",))
    # a kernel without the patch owes no line
    stock = parse_iomem(capture("5.0", "iomem")).reading(lists_cma=False)
    witnesses[2] = stock
    assert reconcile(witnesses, require=NAMES)
    with pytest.raises(MissingIomemLine):
        reconcile(witnesses, features=["iomem-cma"])


def test_an_absent_iomem_of_a_patched_kernel_is_missing_its_line() -> None:
    witnesses: list[Reading | Absent] = [
        dtb(),
        observed(placed()),
        Absent("iomem", "permission denied"),
    ]
    with pytest.raises(MissingIomemLine, match="permission denied"):
        reconcile(witnesses, require=["BiscuitOS_cma"], features=["iomem-cma"])
    assert reconcile(witnesses, require=["BiscuitOS_cma"])


def test_silence_of_a_witness_that_lists_all_areas_is_a_disagreement() -> None:
    live, log, iomem, debugfs, sysfs = all_witnesses("6.1")
    witnesses = [live, log, iomem, without(debugfs, "BiscuitOS_cma"), sysfs]
    with pytest.raises(WitnessDisagreement, match=r"BiscuitOS_cma.*debugfs.*there is no such area"):
        reconcile(witnesses)


@st.composite
def claims_of_truth(draw: st.DrawFn) -> tuple[AddressRange, list[Claim]]:
    """An area, and claims that are all true of it."""
    pages = draw(st.integers(1, 5000))
    base = draw(st.integers(1, 5000)) * 4096
    place = AddressRange.from_size(base, pages * 4096)
    window = AddressRange(
        max(0, base - draw(st.integers(0, 8)) * 4096), place.end + draw(st.integers(0, 8)) * 4096
    )
    unit = draw(st.sampled_from([1024, MIB]))
    possible: Sequence[Claim] = (
        Placed("a", place, "p"),
        Windowed("a", place.size, (AddressRange(0, 1), window), "w"),
        Based("a", base, RoundedSize(place.size // unit, unit), "b"),
        Exists("a", "e"),
        Exists("a", "s", place.size),
    )
    return place, draw(st.lists(st.sampled_from(possible), min_size=1, max_size=5))


def readings_of(claims: list[Claim]) -> list[Reading]:
    return [Reading(f"w{i}", f"s{i}", Coverage.SOME, (claim,)) for i, claim in enumerate(claims)]


@quick
@given(claims_of_truth())
def test_true_claims_never_disagree_and_never_place_it_elsewhere(
    truth: tuple[AddressRange, list[Claim]],
) -> None:
    place, claims = truth
    for area in reconcile(readings_of(claims)).areas:
        if area.exact:
            assert area.range == place
        else:
            assert area.range in place
            assert area.range.start == place.start


@quick
@given(claims_of_truth(), st.integers(-3, 3), st.integers(-3, 3), st.data())
def test_one_false_exact_claim_is_never_reconciled_with_a_true_one(
    truth: tuple[AddressRange, list[Claim]], low: int, high: int, data: st.DataObject
) -> None:
    place, claims = truth
    start, end = place.start + 4096 * low, place.end + 4096 * high
    if (low, high) == (0, 0) or not 0 <= start < end:
        return
    lie = Placed("a", AddressRange(start, end), "lie")
    at = data.draw(st.integers(0, len(claims)))
    claims = [*claims[:at], lie, *claims[at:], Placed("a", place, "truth")]
    with pytest.raises(WitnessDisagreement):
        reconcile(readings_of(claims))
