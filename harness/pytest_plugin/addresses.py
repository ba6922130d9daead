# SPDX-License-Identifier: MIT
"""Failed assertions show addresses in hexadecimal.

pytest shows an integer in decimal, also inside of lists and dictionaries and in its lines "where
… = …". Within `hexadecimal` it shows integers from `LEAST` on in hexadecimal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence, Set

import pytest
from _pytest._io.saferepr import SafeRepr

from harness.memory.ranges import AddressRange, human_size

LEAST = 0x1000_0000
"""Where the lowest device of a vexpress-a9 is; smaller integers are sizes and counts mostly."""


def has_address(value: object) -> bool:
    """Whether an integer that may be an address is in a value or in what it contains."""
    if isinstance(value, int):
        return value >= LEAST
    if isinstance(value, Mapping):
        return any(has_address(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | Set):
        return any(has_address(item) for item in value)
    return False


def text(value: object) -> str:
    """As `repr`, with the integers that may be addresses in hexadecimal."""
    if isinstance(value, int) and value >= LEAST:
        return hex(value)
    if type(value) is dict:
        return f"{{{', '.join(f'{text(key)}: {text(item)}' for key, item in value.items())}}}"
    if type(value) in (list, tuple, set, frozenset):
        assert isinstance(value, list | tuple | Set)
        inner = ", ".join(map(text, value)) + ("," if len(value) == 1 else "")
        brackets = {list: "[]", tuple: "()"}.get(type(value), "{}")
        return f"{brackets[0]}{inner if type(value) is tuple else inner.rstrip(',')}{brackets[1]}"
    return repr(value)


def _differences(left: object, right: object) -> Iterator[str]:
    """Where two collections of a kind differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            if key not in right:
                yield f"only left: {text(key)}: {text(left[key])}"
            elif key not in left:
                yield f"only right: {text(key)}: {text(right[key])}"
            elif left[key] != right[key]:
                yield f"at {text(key)}: {text(left[key])} != {text(right[key])}"
    elif isinstance(left, Set) and isinstance(right, Set):
        yield from (f"only left: {text(item)}" for item in left - right)
        yield from (f"only right: {text(item)}" for item in right - left)
    elif isinstance(left, Sequence) and isinstance(right, Sequence):
        for index, (one, other) in enumerate(zip(left, right, strict=False)):
            if one != other:
                yield f"at index {index}: {text(one)} != {text(other)}"
        longer, which = (left, "left") if len(left) > len(right) else (right, "right")
        for item in longer[min(len(left), len(right)) :]:
            yield f"only {which}: {text(item)}"


def _of_ranges(op: str, left: object, right: AddressRange) -> list[str] | None:
    if isinstance(left, AddressRange):
        said = [f"{left} {op} {right}"]
        if op in ("==", "in") and left != right:
            overlap = " and overlaps it" if left.overlaps(right) else ""
            said.append(f"the left one is {left.distance_text(right)}{overlap}")
            said.append(f"sizes: {human_size(left.size)} and {human_size(right.size)}")
        return said
    if isinstance(left, int):
        return [f"{left:#x} {op} {right}"]
    return None


def explain(op: str, left: object, right: object) -> list[str] | None:
    """The lines for a failed comparison, for ``pytest_assertrepr_compare``.

    None where no address is compared: pytest's own lines are better then.
    """
    if isinstance(right, AddressRange):
        return _of_ranges(op, left, right)
    if not (has_address(left) or has_address(right)):
        return None
    said = [f"{text(left)} {op} {text(right)}"]
    if isinstance(left, int) and isinstance(right, int):
        if op == "==":
            said.append(
                f"the left one is {abs(left - right):#x} {'higher' if left > right else 'lower'}"
            )
        return said
    return said + list(_differences(left, right)) if op == "==" else said


@contextlib.contextmanager
def hexadecimal() -> Iterator[None]:
    """While it lasts, pytest's lines "where … = …" have integers from `LEAST` on in hexadecimal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SafeRepr, "repr_int", lambda _self, value, _level: text(value))
        yield
