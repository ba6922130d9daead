# SPDX-License-Identifier: MIT
"""Memory pressure and pins in the model: what is lent, what is passed over, what is asked."""

from __future__ import annotations

import pytest

from harness.explore.areas import PAGE, AreaSpec
from harness.explore.guests import HOST, OPENERS
from harness.explore.model import SLOW, Model, Operation, Step, effective
from harness.explore.pressure import DATA, PINS

OWN, DEFAULT = 0x69800000, 0x69000000
AREAS = (AreaSpec("own", OWN, 64), AreaSpec("default", DEFAULT, 64, foreign=((0, 8),)))


def model(pressure: bool = True) -> Model:
    return Model(AREAS, OPENERS, HOST, pressure)


def do(made: Model, name: str, *numbers: int) -> Step | None:
    return made.apply(Operation(name, numbers))


def pinned(page: int, area: int = 0) -> Model:
    """A model with one page pinned."""
    made = model()
    do(made, "pressure", 1)
    do(made, "pin", area, 0)
    assert made.learn(f"ok {AREAS[area].base + page * PAGE:#x}") == ""
    return made


def test_what_nobody_has_may_hold_anything_once_there_is_pressure() -> None:
    made = model()
    do(made, "alloc", 0, 2)
    assert made.areas[0].unknown == set()
    step = do(made, "pressure", 0)
    assert step is not None
    assert step.command == f"tmpfs c0ffee00000001 {DATA}"
    assert made.areas[0].unknown == set(range(2, 64))
    assert made.areas[1].unknown == set(range(8, 64))


def test_what_is_allocated_under_pressure_is_zeroed_in_the_place_of_first_fit() -> None:
    made = model()
    do(made, "pressure", 0)
    step = do(made, "alloc", 2, 4)
    assert step is not None
    assert step.expected == f"ok {DEFAULT + 8 * PAGE:#x} {4 * PAGE:#x}"
    assert made.areas[1].unknown == set(range(12, 64))
    assert made.contents(1)[8 * PAGE : 12 * PAGE] == bytes(4 * PAGE)


def test_the_data_is_there_once_and_is_checked_when_it_goes() -> None:
    made = model()
    assert do(made, "relief", 0) is None
    assert made.closing() is None
    do(made, "pressure", 1)
    assert do(made, "pressure", 0) is None
    assert made.closing() == "anon-check"
    step = do(made, "relief", 0)
    assert step is not None
    assert (step.command, step.expected) == ("anon-check; anon-free", "ok")
    assert made.closing() is None
    again = do(made, "pressure", 1)
    assert again is not None
    assert again.command.startswith("anon c0ffee00000002 "), "a pattern of its own"


def test_a_pin_asks_for_the_first_page_of_the_data_from_a_page_on() -> None:
    made = model()
    assert do(made, "pin", 0, 3) is None
    do(made, "pressure", 0)
    step = do(made, "pin", 1, 64 + 10)
    assert step is not None
    assert (step.command, step.expected, step.told) == (
        f"hold {DEFAULT + 10 * PAGE} {54 * PAGE}",
        "ok",
        True,
    )
    assert made.learn("ok none") == ""
    assert do(made, "unpin", 0) is None


def test_a_place_with_a_pinned_page_is_passed_over() -> None:
    made = pinned(2)
    assert made.areas[0].alloc(2) == 0
    assert made.areas[0].alloc(1) == 3
    assert made.areas[0].alloc(4) == 4
    assert made.areas[0].alloc(64) is None
    assert made.areas[0].used == 7, "nobody has allocated it"
    do(made, "unpin", 0)
    assert made.areas[0].alloc(1) == 2


def test_each_page_is_pinned_until_all_are_given_back() -> None:
    made = pinned(2)
    for page in range(3, 2 + PINS):
        do(made, "pin", 0, page)
        made.learn(f"ok {OWN + page * PAGE:#x}")
    assert do(made, "pin", 0, 0) is None
    assert do(made, "relief", 0) is None
    step = do(made, "unpin", 0)
    assert step is not None
    assert (step.command, step.expected) == ("unpin; anon-check", "ok")
    assert made.areas[0].pinned == []
    assert do(made, "relief", 0) is not None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("ok", "neither"),
        ("ok some", "neither"),
        (f"ok {OWN + 1:#x}", "no page of own"),
        (f"ok {OWN - PAGE:#x}", "no page of own"),
        (f"ok {OWN + 64 * PAGE:#x}", "no page of own"),
        (f"ok {OWN + PAGE:#x}", "a page of own that is allocated"),
    ],
)
def test_a_page_that_cannot_be_the_data_s_is_told(answer: str, why: str) -> None:
    made = model()
    do(made, "alloc", 0, 2)
    do(made, "pressure", 0)
    do(made, "pin", 0, 0)
    assert why in made.learn(answer)
    assert made.areas[0].pinned == []


def test_debugfs_is_asked_for_little_while_a_page_is_pinned() -> None:
    made = pinned(40)
    step = do(made, "debug_alloc", 0, 60)
    assert step is not None
    assert step.command == f"own echo {SLOW} >alloc"
    step = do(made, "debug_alloc", 1, 30)
    assert step is not None
    assert step.command == "default echo 30 >alloc"


def test_a_system_that_cannot_do_them_leaves_them_out() -> None:
    for name, numbers in (("pressure", (1,)), ("pin", (0, 0)), ("unpin", (0,)), ("relief", (0,))):
        assert do(model(pressure=False), name, *numbers) is None


def test_what_follows_a_pin_is_kept_whatever_it_is() -> None:
    useless, pin = Operation("unmap", (0, 0)), Operation("pin", (0, 0))
    given = (useless, pin, Operation("pressure", (0,)), useless, pin, useless)
    assert effective(model(), given) == given[2:3] + given[4:]
