# SPDX-License-Identifier: MIT
"""Changes that are made by rule."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.mutants.operators import Change, changes

SOURCE = b"""\
#define LIMIT 3
static int __init check(struct thing *t, const char __user *p)
{
	if (t->count > LIMIT && p) {
		pr_err("more than %d\\n", 3);
		return -EINVAL;
	}
	t->count += 2;
	forget(t,
		p);
	for_each_thing(t) {
		t->done = true;
	}
	return 0;
}

struct thing *find(int i)
{
#ifdef CONFIG_THINGS
	return things[i << 1];
#else
	return NULL;
#endif
}

bool right(void) { return !wrong(); }
void nothing(void) { return; }
"""


def made(operator: str, function: str = "*") -> list[str]:
    return [c.what for c in changes(SOURCE, "a.c", function) if c.operator == operator]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("relational", ["`>` -> `<=`", "`>` -> `>=`"]),
        ("logical", ["`&&` -> `||`"]),
        ("arithmetic", ["`+=` -> `-=`", "`<<` -> `>>`"]),
        (
            "constant",
            ["`2` -> `1`", "`2` -> `3`", "`true` -> `false`", "`0` -> `1`", "`1` -> `0`"],
        ),
        ("negated condition", ["`(t->count > LIMIT && p)` -> `(!(t->count > LIMIT && p))`"]),
        ("dropped call", ["`forget(t, p);` -> `;`"]),
        ("dropped assignment", ["`t->count += 2;` -> `;`", "`t->done = true;` -> `;`"]),
        (
            "return value",
            [
                "`-EINVAL` -> `0`",
                "`0` -> `-1`",
                "`things[i << 1]` -> `NULL`",
                "`!wrong()` -> `false`",
            ],
        ),
    ],
)
def test_each_operator_changes_what_it_is_for(operator: str, expected: list[str]) -> None:
    assert made(operator)[: len(expected)] == expected


def test_what_is_printed_is_left_alone() -> None:
    assert not [change for change in changes(SOURCE, "a.c") if change.line == 5]


def test_no_line_moves() -> None:
    for change in changes(SOURCE, "a.c"):
        text = change.apply(SOURCE)
        assert text != SOURCE
        assert text.count(b"\n") == SOURCE.count(b"\n"), change.name
        before, after = SOURCE.splitlines(), text.splitlines()
        first, last = change.lines
        assert before[: first - 1] == after[: first - 1]
        assert before[last:] == after[last:]


def test_a_change_names_its_place_and_its_statement() -> None:
    call = next(c for c in changes(SOURCE, "a.c") if c.operator == "dropped call")
    assert (call.name, call.function) == ("a.c:9:2 dropped call: `forget(t, p);` -> `;`", "check")
    assert call.lines == call.around == (9, 10)
    limit = next(c for c in changes(SOURCE, "a.c") if c.operator == "relational")
    assert limit.lines == (4, 4)
    assert limit.around[0] == 4


def test_names_are_unique() -> None:
    names = [change.name for change in changes(SOURCE, "a.c")]
    assert len(names) == len(set(names))


def test_functions_are_chosen_by_pattern() -> None:
    assert {change.function for change in changes(SOURCE, "a.c", "f*")} == {"find"}
    with pytest.raises(UserError, match=r"a\.c has no function gone"):
        changes(SOURCE, "a.c", "gone")


def test_another_source_is_refused() -> None:
    change: Change = changes(SOURCE, "a.c")[0]
    with pytest.raises(ValueError, match="not the file"):
        change.apply(SOURCE[10:])
