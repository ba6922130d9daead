# SPDX-License-Identifier: MIT
"""Which tests judge a change: those that execute what it changes, as the base's own run shows.

Use it so, from a gate, a watcher or a search for mutants::

    evidence = Evidence(lines, functions)         # of the base, see `harness.gate.baseline`
    chosen = select(evidence, PatchChange(diff, code, sources))
    chosen.tests                                  # in the order in which to run them
    evidence.lines.tests_of("mm/cma.c", 431)      # the tests that execute one line

A test whose guest executes none of the changed code does the same with and without the change. So
nothing that the whole suite would catch is left out, where three things hold: the map is of the
base (it is made anew for other images, tests or QEMU), what differs is code (else all tests are
taken), and the boot does not execute it (else the state in which every test finds its guest may be
another, and all tests are taken too, those that execute it first).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

from harness.builders.changed_code import APPLICATION, DRIVER, TREE, ChangedCode
from harness.coverage.functions import FunctionMap
from harness.coverage.hunks import changed_base_lines
from harness.coverage.lines import Lines, union
from harness.coverage.record import CoverageRecord
from harness.guest.executed import UNPLACED, in_driver
from harness.imageset.objects import CodeChange
from harness.plaintext import counted

_JOB = "tests/cma/test_main_job.py"
_AT_BOOT = "tests/cma/test_at_boot.py"
FEW = 30
"""Tests that end soon in whatever order they run."""
SPECIFIC = 12
"""Of more: how many are run first for what they alone execute."""
_NONE = frozenset[int]()
_TEXTS = (".rst", ".txt", ".md", "MAINTAINERS")
GUARDS = (
    f"{_JOB}::TestApplication::test_what_it_gets_is_the_start_of_the_area",
    f"{_JOB}::TestAreasAtBoot::test_both_areas_are_where_the_device_tree_wants_them",
    f"{_AT_BOOT}::TestWitnesses::test_all_of_them_agree_on_exactly_the_two_areas",
    f"{_JOB}::TestApplication::test_all_it_had_is_free_again",
    f"{_JOB}::TestModule::test_rmmod_takes_the_device_away_and_insmod_brings_it_back",
    f"{_AT_BOOT}::TestAccounts::test_all_that_is_not_allocated_is_free",
)
"""Tests that judge each change, whatever it is."""
_OWN = {APPLICATION: "tests/cma/test_app.py", TREE: "tests/cma/test_device_tree.py"}
"""Files whose tests are of what is no code."""
LOOK = (_JOB, _AT_BOOT, "tests/cma/test_allocation.py")
"""Files whose tests are run first where nothing is known of the base, or where nearly all tests
execute what was changed: half a minute, in which most faults show.
"""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the tests of the base executed."""

    lines: CoverageRecord
    """Of the files of interest."""
    functions: FunctionMap
    """Of the whole kernel, and the driver."""
    blind: frozenset[str] = frozenset()
    """Tests that ran, and of which nobody knows what their guests executed."""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """How long they took there."""

    @property
    def every(self) -> frozenset[str]:
        """All tests that ran."""
        return self.blind | self.functions.tests.keys()

    def ordered(self, tests: Collection[str], around: Lines | None = None) -> list[str]:
        """The most specific first: those that execute fewest functions. Of more than `FEW` first
        those that find most faults, and among them some that execute what few of the others do, of
        the lines `around` a change where these are known; then the others, which tell little apart,
        by what they cost.
        """
        size = {test: len(self.functions.tests.get(test, ())) for test in tests}
        if len(size) <= FEW:
            return sorted(size, key=lambda test: (size[test], test))
        weight = self._rarity(size, around)
        found = sorted(size, key=lambda test: (-weight[test], size[test], test))
        specific, others = found[:SPECIFIC], found[SPECIFIC:]
        broad = self.cheapest([test for test in others if test.startswith(LOOK)])
        first = _among(broad, specific)
        return [*first, *self.cheapest([test for test in others if test not in broad])]

    def _rarity(self, tests: Collection[str], around: Lines | None) -> dict[str, float]:
        """How much of what each test executes few of the others do."""
        if around:
            lines = {test: self.lines.tests.get(test, {}) for test in tests}
            executed: dict[str, frozenset[object]] = {
                test: frozenset((f, n) for f in around for n in around[f] & done.get(f, _NONE))
                for test, done in lines.items()
            }
        else:
            executed = {test: self.functions.tests.get(test, frozenset()) for test in tests}
        many = Counter(one for part in executed.values() for one in part)
        return {
            test: sum(1 / many[one] for one in part) / (1 if around else math.sqrt(len(part) or 1))
            for test, part in executed.items()
        }

    def cheapest(self, tests: Collection[str]) -> list[str]:
        """By what they cost; those of one class share machines, and stay together."""
        groups: dict[str, list[str]] = {}
        for test in sorted(tests):
            groups.setdefault(test.rpartition("::")[0], []).append(test)
        cheap = sorted(groups.values(), key=lambda group: fmean(map(self._cost, group)))
        return [test for group in cheap for test in group]

    def _cost(self, test: str) -> float:
        return self.seconds.get(test, 1.0)


GUARDS_ALONE = Evidence(
    CoverageRecord({}, (), {}, {}), FunctionMap(frozenset(), dict.fromkeys(GUARDS, frozenset()))
)
"""Enough for a change of nothing that is built."""


@dataclasses.dataclass(frozen=True)
class PatchChange:
    """What a patch changed."""

    diff: str
    """Unified, of the tree; with any number of lines of context."""
    code: ChangedCode
    """What it made different in the build."""
    source: Callable[[str], Sequence[str]] = lambda path: ()
    """The lines of a file of the base, by its name in the diff; none where it is not there."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """The tests to run."""

    tests: tuple[str, ...]
    """In the order in which to run them."""
    why: str
    """One line for people."""
    executing: frozenset[str] = frozenset()
    """Those of them that execute changed code on the base."""
    whole: bool = False
    """These are all tests that the base has results of."""


@dataclasses.dataclass
class _Reached:
    """Who executes what was changed."""

    tests: set[str] = dataclasses.field(default_factory=set)
    boot: bool = False
    names: set[str] = dataclasses.field(default_factory=set)
    around: dict[str, frozenset[int]] = dataclasses.field(default_factory=dict)
    """The lines of the functions in which lines were changed."""


def select(evidence: Evidence, change: PatchChange) -> Selection:
    """The tests for a change."""
    if change.code.reach:
        own = f"{_OWN.get(change.code.reach)}::"
        about = {test for test in evidence.functions.tests if test.startswith(own)}
        return _whole(evidence, _Reached(), f"it changes {change.code.reach}", about)
    reached = _Reached()
    by_line = changed_base_lines(change.diff, evidence.lines, change.source)
    for name, part in change.code.objects.items():
        _reach(evidence, name, part, by_line, reached)
    what = _named(reached.names)
    if reached.boot:
        return _whole(evidence, reached, f"the boot executes what it changes ({what})")
    guards = [test for test in GUARDS if test in evidence.functions.tests]
    executing = evidence.ordered(reached.tests, reached.around)
    tests = tuple(dict.fromkeys([*executing, *guards, *sorted(evidence.blind)]))
    if not change.code.objects:
        why = "it changes no code that is built"
    elif not executing:
        why = f"no test and no boot executes what it changes ({what})"
    else:
        verb = "executes" if len(executing) == 1 else "execute"
        why = f"{counted(len(executing), 'test')} {verb} what it changes ({what})"
    more = len(tests) - len(executing)
    return Selection(tests, f"{why}; {more} more guard", frozenset(executing))


def _whole(
    evidence: Evidence, reached: _Reached, why: str, about: Collection[str] = ()
) -> Selection:
    """`about`: tests to run first, for what is no code."""
    guards = [test for test in GUARDS if test in evidence.functions.tests]
    first = [*evidence.cheapest(about), *evidence.ordered(reached.tests, reached.around)]
    if reached.boot:
        # What the boot executes, each test that boots by itself executes too, and takes long for.
        # What the boot did is judged by tests that share one machine.
        of_boot = [test for test in evidence.functions.tests if test.startswith(f"{_AT_BOOT}::")]
        first = [*guards, *of_boot, *first]
    rest = evidence.ordered(evidence.functions.tests)
    tests = tuple(dict.fromkeys([*first, *guards, *rest, *sorted(evidence.blind)]))
    return Selection(tests, f"all tests: {why}", frozenset(reached.tests), whole=True)


def _among(tests: Sequence[str], others: Sequence[str]) -> list[str]:
    """`others` spread evenly among `tests`."""
    step = -(-len(tests) // (len(others) or 1)) or 1
    found: list[str] = []
    for number, test in enumerate(others):
        found += [*tests[number * step : (number + 1) * step], test]
    return [*found, *tests[len(others) * step :]]


def _reach(
    evidence: Evidence,
    name: str,
    part: CodeChange,
    by_line: Mapping[str, Lines | None],
    reached: _Reached,
) -> None:
    """Enters who executes what differs in one object."""
    record, functions = evidence.lines, evidence.functions
    changed = part.every if part.data else part.functions
    lines = None if part.data else _lines_of(name, by_line)
    if name == DRIVER:
        changed = frozenset(map(in_driver, changed))
        reached.tests |= set(functions.tests_of({UNPLACED}))
        reached.boot |= UNPLACED in functions.boot
    if lines is not None:
        for file, numbers in lines.items():
            reached.names |= {record.function_of(file, number) for number in numbers}
            reached.boot |= bool(numbers & record.boot.get(file, _NONE))
            near = (record.lines_around(file, number) for number in numbers)
            reached.around[file] = reached.around.get(file, _NONE).union(*near)
            reached.tests |= {
                test for test, done in record.tests.items() if numbers & done.get(file, _NONE)
            }
        return
    reached.names |= {function.rpartition(":")[2] for function in part.functions}
    reached.tests |= set(functions.tests_of(changed))
    reached.boot |= bool(changed & functions.boot)


def _lines_of(name: str, by_line: Mapping[str, Lines | None]) -> Lines | None:
    """The lines of the base that a change of an object comes from; None where that is not known:
    a header was changed, or what is in no function.
    """
    if name == DRIVER:
        parts = [lines for file, lines in by_line.items() if file.startswith(f"{DRIVER}/")]
    else:
        parts = [by_line.get(f"{name.removesuffix('.o')}.c")]
    foreign = any(not file.endswith((".c", *_TEXTS)) for file in by_line)
    found = [part for part in parts if part is not None]
    if foreign or len(found) < len(parts) or not found:
        return None
    return union(*found)


def _named(names: Collection[str]) -> str:
    shown = sorted(names)[:4]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or "data"
