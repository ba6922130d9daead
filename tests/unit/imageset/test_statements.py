# SPDX-License-Identifier: MIT
"""Which instructions tell that a line was executed. The cases are from 6.1's own objects."""

from __future__ import annotations

import pytest

from harness.imageset.statements import Entry, Group, Jump, first_jump, told

BEQ, B, BL, BXEQ, POP, CMP, POPEQ, BLEQ = (
    0x0A000001,
    0xEA000001,
    0xEB000001,
    0x012FFF1E,
    0xE8BD8010,
    0xE3500000,
    0x08BD8010,
    0x0B000001,
)
SIZE = 4


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@pytest.mark.parametrize(
    ("words", "jump"),
    [
        ((), Jump.NONE),
        ((CMP, BL, BLEQ), Jump.NONE),
        ((CMP, BEQ, B), Jump.CONDITIONAL),
        ((CMP, BXEQ), Jump.CONDITIONAL),
        ((POPEQ,), Jump.CONDITIONAL),
        ((B, BEQ), Jump.ALWAYS),
        ((POP, BEQ), Jump.ALWAYS),
        ((0xF57FF05F,), Jump.NONE),  # dmb: no condition there
    ],
)
def test_what_arm_instructions_do_first(words: tuple[int, ...], jump: Jump) -> None:
    assert first_jump(code(*words)) is jump


def lines(*rows: tuple[str, int]) -> list[list[int]]:
    """The lines that are told of at each address. A row has the lines that begin there, in words
    as `objdump` has them (``472x 477x``), and the one instruction that is there.
    """
    groups, words = [], []
    for number, (said, word) in enumerate(rows):
        entries = tuple(Entry(1, int(w.rstrip("x")), w.endswith("x")) for w in said.split())
        groups.append(Group(number * SIZE, (number + 1) * SIZE, entries))
        words.append(word)
    good = told(groups, lambda start, end: first_jump(code(*words[start // SIZE : end // SIZE])))
    return [
        sorted({entry.line for entry, sure in zip(group.entries, row, strict=True) if sure})
        for group, row in zip(groups, good, strict=True)
    ]


def test_a_statement_that_is_noted_before_the_branch_around_it_begins_behind_that() -> None:
    """``if (ret == 0) {…}`` in ``cma_alloc()``, and the call behind it."""
    assert lines(("472x 477x", CMP), ("472", BEQ), ("477", BL)) == [[472], [472], [477]]


def test_one_without_an_instruction_of_its_own_behind_it_is_told_by_what_there_is() -> None:
    """``start = …`` at the end of the loop there, computed at its head."""
    found = lines(("487", CMP), ("450x", CMP), ("478x 481x 487x 478", BEQ), ("490x", B))
    assert found == [[], [450], [478, 481, 487], [490]]


def test_several_statements_of_one_instruction_were_all_executed() -> None:
    assert lines(("10x 11x 12x", CMP), ("12", BEQ), ("13x", B)) == [[10, 11, 12], [12], [13]]
    assert lines(("473x 474x 473", CMP), ("473", B)) == [[473, 474], [473]]


def test_a_copy_that_no_statement_is_noted_for_counts() -> None:
    """``if (selected_size …)`` in ``dma_contiguous_reserve()``, on the way without a parameter."""
    found = lines(("175x", BEQ), ("179x 193x 193", BXEQ), ("183", CMP), ("193", BEQ))
    assert found == [[175], [179, 193], [183], [193]]


def test_a_way_that_is_there_twice_is_told_of_at_both_places() -> None:
    """The ends of ``cma_alloc()``."""
    way = (("490x 497x 502x 502", BEQ), ("510x", POP))
    assert lines(*way, *way) == [[490, 497, 502], [510]] * 2


def test_what_is_behind_the_end_of_a_function_s_way_is_another_one() -> None:
    """The end of ``test_pages_isolated()``, and the head of its loop, which is put behind it."""
    found = lines(("650x", CMP), ("665x 668x 670x 665", CMP), ("671", POP), ("650", BEQ))
    assert found[1] == [665, 668, 670]


def test_instructions_that_were_moved_up_tell_nothing() -> None:
    """``memblock_mark_nomap()``, of which an argument is made before it is asked for."""
    assert lines(("47x", CMP), ("48", CMP), ("47", BEQ), ("48x", BL)) == [[47], [], [47], [48]]


def test_a_table_without_marks_is_taken_as_it_is() -> None:
    assert lines(("1x", CMP), ("2x", CMP), ("1x", BEQ), ("2x", BL)) == [[1], [2], [1], [2]]
