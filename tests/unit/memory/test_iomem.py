# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import JudgementError
from harness.memory import (
    AddressRange,
    Coverage,
    Iomem,
    MalformedIomem,
    Placed,
    Resource,
    WitnessUnreadable,
    ZeroedIomem,
    parse_iomem,
    render_iomem,
)
from tests.unit.memory.builders import capture, quick


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_patched_kernels_list_both_areas_inside_system_ram(version: str) -> None:
    iomem = parse_iomem(capture(version, "iomem"))
    assert iomem.ram == (AddressRange(0x60000000, 0x80000000),)
    assert [part.name for part in iomem.kernel] == ["Kernel code", "Kernel data"]
    reading = iomem.reading(lists_cma=True)
    assert reading.coverage is Coverage.ALL
    assert [(c.name, str(c)) for c in reading.claims] == [
        ("linux,cma", "0x69000000-0x697fffff"),
        ("BiscuitOS_cma", "0x69800000-0x69ffffff"),
    ]
    line = int(reading.claims[1].source.removeprefix("/proc/iomem line "))
    assert "BiscuitOS_cma" in capture(version, "iomem").splitlines()[line - 1]


def test_stock_kernel_says_nothing_of_areas() -> None:
    reading = parse_iomem(capture("5.0", "iomem")).reading(lists_cma=False)
    assert (reading.claims, reading.coverage) == ((), Coverage.SOME)
    assert reading.ram


def test_without_the_patch_only_known_names_are_areas() -> None:
    iomem = parse_iomem(capture("6.1-layout", "iomem"))
    named = iomem.reading(lists_cma=False, names=["foo@6c000000"])
    assert [claim.name for claim in named.claims] == ["foo@6c000000"]
    listed = iomem.reading(lists_cma=True)
    assert [c.name for c in listed.claims] == ["linux,cma", "BiscuitOS_cma", "foo@6c000000", "wide"]


def test_zeros_mean_a_reader_without_rights_and_are_no_range() -> None:
    with pytest.raises(ZeroedIomem, match="CAP_SYS_ADMIN") as caught:
        parse_iomem("00000000-00000000 : System RAM\r\n  00000000-00000000 : Kernel code\r\n")
    assert not isinstance(caught.value, JudgementError)


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_what_a_kernel_shows_to_a_user_without_rights_is_zeros(version: str) -> None:
    with pytest.raises(ZeroedIomem):
        parse_iomem(capture(version, "iomem-unpriv"))


def test_one_zero_line_among_others_is_a_range() -> None:
    assert parse_iomem("00000000-00000000 : a\n00000001-00000001 : b\n").named("a")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("60000000-7fffffff : System RAM\nrubbish\n", 2),
        ("60000000-7fffffff System RAM\n", 1),
        ("60000000-7fffffff : System RAM\n   69000000-697fffff : odd\n", 2),
        ("60000000-7fffffff : System RAM\n    69000000-697fffff : too deep\n", 2),
        ("7fffffff-60000000 : backwards\n", 1),
        ("  60000000-7fffffff : orphan\n", 1),
        ("60000000-7fffffff : System RAM\n  69000000-6", 2),
    ],
)
def test_a_malformed_line_is_quoted_with_its_number(text: str, line: int) -> None:
    with pytest.raises(MalformedIomem) as caught:
        parse_iomem(text)
    assert caught.value.line == line
    assert f"/proc/iomem line {line}: " in str(caught.value)
    assert caught.value.text.strip() in text


def test_nothing_at_all_is_malformed() -> None:
    with pytest.raises(MalformedIomem, match="it is empty"):
        parse_iomem("\n\r\n")


def test_names_keep_separators_and_may_repeat() -> None:
    iomem = parse_iomem("00000000-000000ff : a : b, c\n00000100-000001ff : a : b, c\n")
    assert [r.line for r in iomem.named("a : b, c")] == [1, 2]


name = st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=["Cs"]), max_size=12)


def trees(depth: int) -> st.SearchStrategy[Resource]:
    children = st.lists(trees(depth - 1), max_size=3) if depth else st.just([])
    place = st.builds(AddressRange.from_size, st.integers(1, 2**40), st.integers(1, 2**40))
    return st.builds(lambda n, r, c: Resource(n, r, 0, tuple(c)), name, place, children)


def without_lines(resource: Resource) -> Resource:
    return Resource(resource.name, resource.range, 0, tuple(map(without_lines, resource.children)))


@quick
@given(st.lists(trees(3), min_size=1, max_size=4))
def test_a_rendered_tree_is_parsed_back(resources: list[Resource]) -> None:
    text = render_iomem(Iomem(tuple(resources)))
    assert [without_lines(r) for r in parse_iomem(text).resources] == resources
    assert [r.line for r in parse_iomem(text).walk()] == list(range(1, text.count("\n") + 1))


@quick
@given(st.text(), st.integers(0, 30))
def test_arbitrary_text_raises_only_our_errors(text: str, at: int) -> None:
    real = capture("6.1", "iomem")
    for candidate in (text, real[: at * 30] + text + real[at * 30 :], real[: len(real) - at]):
        with contextlib.suppress(WitnessUnreadable):
            reading = parse_iomem(candidate).reading(lists_cma=True)
            assert all(isinstance(claim, Placed) for claim in reading.claims)
