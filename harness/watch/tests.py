# SPDX-License-Identifier: MIT
"""Which tests a run of ``harness watch`` runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from harness.builders.repository import Repository
from harness.coverage.hunks import changed_base_lines
from harness.errors import UserError
from harness.gate.selection import GUARDS, Evidence

FEW = 10
"""How many tests a save is judged by."""
_ALLOCATION = "tests/cma/test_allocation.py"
_INTERFACE = "tests/cma/test_driver_interface.py"
FIRST = (
    GUARDS[0],
    f"{_ALLOCATION}::TestPlace::test_a_region_of_any_size_is_at_the_start_and_not_a_page_more",
    f"{_ALLOCATION}::TestExhaustion::test_a_full_area_refuses_without_a_word_and_without_a_leak",
    f"{_ALLOCATION}::TestPlace::test_a_release_between_neighbours_frees_that_region_alone",
    f"{_ALLOCATION}::TestCounters::test_used_and_maxchunk_follow_the_bitmap_at_every_level",
    f"{_ALLOCATION}::TestCounters::test_vmstat_counts_calls_and_sysfs_counts_pages",
    f"{_INTERFACE}::TestMmap::test_a_part_of_a_region_is_mapped_where_it_is",
    f"{_INTERFACE}::TestOpeners::test_two_openers_share_the_area_and_nothing_else",
    *GUARDS[1:3],
)
"""The tests where nobody knows what each executes. They share two machines, for each of which a new
kernel has to be booted; the first two tests need one each, so that both boot at once.
"""
CHEAP = 1.5
"""Seconds of a test that is not put off for others."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The tests of a run."""

    count: int
    """How many, where that is known; else 0."""
    select: Path | None
    """A file with their names; None: all."""


def choose(
    given: Path | None,
    evidence: Evidence | None,
    repository: Repository,
    place: Path,
    *,
    all_tests: bool,
) -> Chosen:
    """The tests for what is not committed: those that the file `given` names, if any; else those
    that execute what is changed, the most specific first. A file that names them goes into `place`.
    """
    if all_tests:
        return Chosen(0, None)
    if given is not None:
        return Chosen(len(_names(given.read_text())), given)
    names: Sequence[str] = FIRST
    if evidence is not None:
        diff = repository.uncommitted().decode("utf-8", "surrogateescape")

        def source(path: str) -> Sequence[str]:
            with contextlib.suppress(UserError):  # a new file
                return repository.text("HEAD", path).split("\n")
            return ()

        names = executing(evidence, diff, source)
    select = place / "select.txt"
    select.write_text("".join(f"{name}\n" for name in names))
    return Chosen(len(names), select)


def executing(
    evidence: Evidence, diff: str, source: Callable[[str], Sequence[str]]
) -> Sequence[str]:
    """`FEW` tests that execute the lines which a diff of the base changes, the cheap ones first,
    and of `FIRST` as many as there is room for. `source` gives the lines of a file of the base.
    """
    found: set[str] = set()
    for covered in changed_base_lines(diff, evidence.lines, source).values():
        for file, lines in (covered or {}).items():
            found |= {test for line in lines for test in evidence.lines.tests_of(file, line)}
    known: Collection[str] = evidence.every
    rest = [test for test in FIRST if test in known]
    ordered = sorted(evidence.ordered(found), key=lambda t: evidence.seconds.get(t, 0) > CHEAP)
    return tuple(dict.fromkeys([*ordered[: FEW - 2], *rest]))[:FEW]


def _names(text: str) -> list[str]:
    rows = (line.strip() for line in text.splitlines())
    return [row for row in rows if row and not row.startswith("#")]
