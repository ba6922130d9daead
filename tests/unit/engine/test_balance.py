# SPDX-License-Identifier: MIT
"""What waits on a busy worker is given to one that has room, and what runs is left alone."""

from __future__ import annotations

from typing import NamedTuple

from harness.engine.balance import Balance
from harness.engine.member import Member, Takes


class Given(NamedTuple):
    takes: Takes = Takes(2, 0)
    avoid: frozenset[str] = frozenset()


BUSY = {"first": Takes(2, 0)}


def member(name: str, heard: float, running: dict[str, Takes] | None = None) -> Member:
    return Member(name, name, 2, 1, heard=heard, running=running or {})


def moves(work: Given, *looks: tuple[Member, ...], at: str = "a") -> list[list[tuple[str, str]]]:
    """What is moved at each look at the workers, of "first", which runs, and `work`."""
    balance = Balance()
    flying = {"first": Given(), "waits": work}
    assigned = {"first": "a", "waits": at}
    return [list(balance.moves(flying, assigned, look)) for look in looks]


def looks(*others: str, heard: tuple[float, ...] = (1, 2, 3)) -> list[tuple[Member, ...]]:
    return [(member("a", at, BUSY), *(member(other, at) for other in others)) for at in heard]


def test_what_waits_moves_when_the_busy_worker_was_heard_of_thrice() -> None:
    assert moves(Given(), *looks("b")) == [[], [], [("waits", "b")]]


def test_a_worker_that_is_not_heard_of_may_have_begun() -> None:
    assert moves(Given(), *looks("b", heard=(1, 1, 1, 2, 2, 2))) == [[]] * 6


def test_it_is_counted_anew_on_another_worker() -> None:
    balance, work = Balance(), {"waits": Given()}
    for heard in (1.0, 2.0):
        assert not list(balance.moves(work, {"waits": "a"}, (member("a", heard, BUSY),)))
    for heard in (3.0, 4.0):
        both = (member("a", heard, BUSY), member("b", heard, {"x": Takes(1, 0)}), member("c", 1.0))
        assert not list(balance.moves(work, {"waits": "b"}, both))


def test_where_nobody_has_room_it_waits() -> None:
    busy = [(*look, member("b", 1, {"x": Takes(1, 0)})) for look in looks()]
    assert moves(Given(), *busy) == [[], [], []]
    assert moves(Given(Takes(1, 0)), *busy)[-1] == [("waits", "b")]


def test_a_worker_that_cannot_run_it_does_not_get_it() -> None:
    assert moves(Given(avoid=frozenset("b")), *looks("b")) == [[], [], []]
    assert moves(Given(avoid=frozenset("b")), *looks("b", "c"))[-1] == [("waits", "c")]


def test_patched_trees_are_room_too() -> None:
    runs = {"first": Takes(1, 1)}
    free = [(member("a", at, runs), member("b", at)) for at in (1.0, 2.0, 3.0)]
    assert moves(Given(Takes(1, 1)), *free)[-1] == [("waits", "b")]
    assert moves(Given(Takes(1, 0)), *free)[-1] == [], "there is room where it is"


def test_two_that_wait_do_not_go_to_the_same_room() -> None:
    balance, flying = Balance(), {"one": Given(), "two": Given()}
    assigned = dict.fromkeys(flying, "a")
    given = [list(balance.moves(flying, assigned, look)) for look in looks("b")]
    assert given == [[], [], [("one", "b")]]
    given = [list(balance.moves(flying, assigned, look)) for look in looks("b", "c", heard=(4, 5))]
    assert given[0] == [("two", "b")]


def test_room_that_was_just_given_away_is_none() -> None:
    """What was given to a worker and is not told of yet has its place there."""
    balance = Balance()
    flying = {"waits": Given(), "new": Given()}
    for heard in (1.0, 2.0):
        assert not list(
            balance.moves({"waits": Given()}, {"waits": "a"}, (member("a", heard, BUSY),))
        )
    both = (member("a", 3.0, BUSY), member("b", 3.0))
    assert not list(balance.moves(flying, {"waits": "a", "new": "b"}, both))
