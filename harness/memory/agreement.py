# SPDX-License-Identifier: MIT
"""Whether two statements on one area can both be true, comparing only what each really says."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from harness.memory.errors import AreaOutsideWindow, SizeMismatch, WitnessDisagreement
from harness.memory.model import Based, Claim, Placed, Reading, RoundedSize, Windowed
from harness.memory.ranges import AddressRange


@dataclasses.dataclass(frozen=True)
class Statement:
    """A claim and the reading that it is from."""

    reading: Reading
    claim: Claim

    @property
    def triple(self) -> tuple[str, str, str]:
        """Witness, source, value; in words."""
        return self.reading.witness, self.claim.source, str(self.claim)

    @property
    def text(self) -> str:
        """One clause for a message."""
        return f"{self.reading.witness} ({self.claim.source}) says {self.claim}"


def check_agreement(area: str, statements: Sequence[Statement]) -> None:
    """Raises `WitnessDisagreement` (or a kind of it) for the first pair that cannot be."""
    for first, second in itertools.combinations(statements, 2):
        _check_base(area, first, second)
        _check_size(area, first, second)
        _check_window(area, first, second)
        _check_declarations(area, first, second)


def _check_base(area: str, first: Statement, second: Statement) -> None:
    bases = _base(first.claim), _base(second.claim)
    if None not in bases and bases[0] != bases[1]:
        raise WitnessDisagreement(area, first.triple, second.triple)


def _check_size(area: str, first: Statement, second: Statement) -> None:
    one, two = _sizes(first.claim), _sizes(second.claim)
    if one is None or two is None:
        return
    if isinstance(one, RoundedSize):
        one, two = two, one
    # now a rounded size, if there is one, is the second
    if isinstance(one, RoundedSize):
        agree = one == two
    elif isinstance(two, RoundedSize):
        agree = any(two.admits(size) for size in one)
    else:
        agree = not set(one).isdisjoint(two)
    if not agree:
        problem = "its size is not what was declared"
        if first.reading.observes == second.reading.observes:
            problem = "the witnesses disagree on its size"
        raise SizeMismatch(area, first.triple, second.triple, problem)


def _check_window(area: str, first: Statement, second: Statement) -> None:
    for window, other in ((first, second), (second, first)):
        if not isinstance(window.claim, Windowed):
            continue
        base = _base(other.claim)
        if base is None:
            continue
        # the sizes agree, so a declared one is the area's
        places = [AddressRange.from_size(base, size) for size in window.claim.sizes]
        if not any(window.claim.admits(place) for place in places):
            problem = "it is outside the window it was declared with"
            raise AreaOutsideWindow(area, other.triple, window.triple, problem)


def _check_declarations(area: str, first: Statement, second: Statement) -> None:
    """The blob on the host and the live tree must declare the same."""
    if first.reading.observes or second.reading.observes:
        return
    one, two = first.claim, second.claim
    if isinstance(one, Windowed) and isinstance(two, Windowed):
        same = sorted(one.windows) == sorted(two.windows)
    else:
        same = type(one) is type(two)
    if not same:
        raise WitnessDisagreement(area, first.triple, second.triple)


def _base(claim: Claim) -> int | None:
    if isinstance(claim, Placed):
        return claim.range.start
    return claim.base if isinstance(claim, Based) else None


def _sizes(claim: Claim) -> tuple[int, ...] | RoundedSize | None:
    """The sizes that an area may have by this claim; None where it says nothing of it."""
    if isinstance(claim, Placed):
        return (claim.range.size,)
    if isinstance(claim, Windowed):
        return claim.sizes
    if isinstance(claim, Based):
        return claim.size
    return None if claim.size is None else (claim.size,)
