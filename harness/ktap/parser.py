# SPDX-License-Identifier: MIT
"""Reads KTAP, the results of kselftest and KUnit, as a tree of tests.

The format: ``Documentation/dev-tools/ktap.rst``. What is taken beyond it, because kernels print it:
TAP's version lines, KUnit's ``# Subtest: name`` with or without a version line
(``lib/kunit/test.c``), and the older nesting of ``tools/testing/selftests/kselftest/runner.sh``,
which puts ``# `` before all that a test program prints. Lines that are none of KTAP's belong to the
test whose result comes next.

Results without a version line or a plan before them, within a test, are its children where their
numbers count up; a single one among a program's words may be one of them, but for ``not ok 1``.

Nothing that the text lacks is guessed, and its word against itself counts: a plan that is not
fulfilled, a parent without a result, a parent that passes over a failed child, ``Bail out!``, and
totals that are not those of the results are failures of their own.
"""

from __future__ import annotations

import dataclasses
import re

from harness.ktap.model import (
    BAIL_OUT,
    MISSING,
    TOTALS,
    UNPLANNED,
    KtapOutcome,
    KtapReport,
    KtapTest,
    NoKtap,
)
from harness.ktap.results import described, orphan, parent
from harness.ktap.results import outcome as outcome_of
from harness.ktap.totals import Totals, contradiction
from harness.ktap.yamlblock import YamlBlock
from harness.memory.dmesg import strip_prefix

DEEPEST = 16
"""Levels of nesting that are distinguished; the kernel has three."""
TAB = 8

_INDENT = re.compile(r"[ \t]*(?:# [ \t]*)*")
_COMMENT = re.compile(r"[ \t]*(?:# )*(?:#$)?")
_VERSION = re.compile(r"K?TAP version \d{1,9}")
_PLAN = re.compile(r"1\.\.(\d{1,9})(?:[ \t]+#[ \t]*(.*))?")
_SUBTEST = re.compile(r"Subtest:[ \t]*(.*)")
_RESULT = re.compile(r"(ok|not ok)(?:[ \t]+(\d{1,9}))?(?=[ \t]|$)[ \t]*(.*)", re.DOTALL)
_GLUED = re.compile(r"\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ")
_BAIL = re.compile(r"bail out!?[ \t]*(.*)", re.IGNORECASE)


def parse_ktap(text: str | bytes, *, versioned: bool = False) -> KtapReport:
    """The tests of a text. Raises `NoKtap` where it has none.

    What comes before the first line of KTAP is passed over. That is a version line, or else a plan
    or a result; `versioned` takes nothing but a version line, or KUnit's ``# Subtest`` of kernels
    whose modules print none, for logs of which most is not KTAP.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    parser = _Parser(versioned)
    for line in text.split("\n"):
        parser.feed(strip_prefix(line).rstrip("\r"))
    if not parser.started:
        lines = [line for line in text[-4000:].splitlines() if line.strip()]
        said = "\n".join(f"    {line[:200]}" for line in lines[-10:])
        missing = "a version line" if versioned else "a version line, a plan or a result"
        raise NoKtap(f"no KTAP ({missing}) in " + (f"this:\n{said}" if said else "empty output"))
    return parser.end()


@dataclasses.dataclass
class _Group:
    """Tests of one level, while they are read."""

    column: int
    hashed: bool = False
    """Whether its lines begin with ``# ``."""
    header: bool = False
    """Whether it had a version line."""
    name: str = ""
    inner: str = ""
    """The name that a ``# Subtest`` on this level gives to the next group within it."""
    plan: int | None = None
    skip: str = ""
    """What the plan says after its ``#``."""
    last: int = 0
    announced: bool = True
    """Whether anything said that results are to come."""
    first: str = ""
    """The text of its first result, where nothing had announced it."""
    totals: Totals | None = None
    """What the program says that the results were."""
    failed: int = 0
    """Results that say themselves that they failed."""
    bails: list[KtapTest] = dataclasses.field(default_factory=list)
    tests: list[KtapTest] = dataclasses.field(default_factory=list)
    waiting: list[tuple[str, tuple[KtapTest, ...]]] = dataclasses.field(default_factory=list)
    """Groups within it that have ended, and whose result has not come yet."""

    @property
    def fresh(self) -> bool:
        return self.plan is None and not self.tests and not self.waiting


class _Parser:
    """Takes one line after the other; `end` gives the report. All steps are linear."""

    def __init__(self, versioned: bool) -> None:
        self.started = False
        self._versioned = versioned
        self._groups = [_Group(0)]
        self._done: list[KtapTest] = []
        self._pending: list[str] = []
        self._suite_totals: list[Totals] = []
        self._problems: dict[str, None] = {}
        self._block = YamlBlock()

    def feed(self, line: str) -> None:
        """Reads a line without its prefix."""
        if self._block.takes(line):
            return
        indent = _INDENT.match(line)
        assert indent is not None
        body = line[indent.end() :].rstrip()
        self._block.after_result = False
        if not self._structure(body, indent[0]) and self.started:
            comment = _COMMENT.match(line)
            assert comment is not None
            if text := line[comment.end() :].rstrip():
                self._pending.append(text)

    def _structure(self, body: str, prefix: str) -> bool:
        """Whether the line was one of KTAP's own, and was taken as such."""
        column, hashed = len(prefix.expandtabs(TAB)), "#" in prefix
        if _VERSION.fullmatch(body):
            self._version(column, hashed)
        elif hashed and (subtest := _SUBTEST.fullmatch(body)):
            return self._subtest(column - 2, prefix.count("#") > 1, subtest[1])
        elif self._versioned and not self.started:
            return False
        elif plan := _PLAN.fullmatch(body):
            self._plan(column, hashed, int(plan[1]), plan[2] or "")
        elif body.startswith(("ok", "not ok")) and (result := _RESULT.fullmatch(body)):
            return self._result_line(column, hashed, result)
        elif self.started and body[:4].lower() == "bail" and (bail := _BAIL.fullmatch(body)):
            self._bail(column, hashed, bail[1])
        else:
            if self.started and hashed and (totals := Totals.of(body)):
                self._totals(column - 2, prefix.count("#") > 1, totals)
            return False
        self.started = True
        return True

    # Headers: they open groups

    def _at(self, column: int, hashed: bool) -> _Group:
        """The group of a header in this column, opened where there is none."""
        self._close_beyond(column)
        top = self._groups[-1]
        if top.column == column:
            return top
        if len(self._groups) == DEEPEST:
            self._note(f"nested deeper than {DEEPEST} levels")
            return top
        group = _Group(column, hashed, name=top.inner)
        top.inner = ""
        self._groups.append(group)
        return group

    def _anew(self, group: _Group) -> _Group:
        """Ends a group at whose level another begins."""
        if group.column != self._groups[-1].column or len(self._groups) == DEEPEST:
            return group
        self._close()
        if not self._groups:
            self._groups.append(_Group(0))
        return self._at(group.column, group.hashed)

    def _version(self, column: int, hashed: bool) -> None:
        group = self._at(column, hashed)
        if group.header or not group.fresh:
            group = self._anew(group)
        group.header = True

    def _plan(self, column: int, hashed: bool, count: int, skip: str) -> None:
        group = self._at(column, hashed)
        if group.plan is not None and len(group.tests) >= group.plan:
            group = self._anew(group)  # another program that prints no version line
        if group.plan is not None:
            self._note(f"a second plan, 1..{count}, where 1..{group.plan} is not fulfilled")
            return
        group.plan, group.skip = count, skip

    def _subtest(self, column: int, hashed: bool, name: str) -> bool:
        """KUnit names the group that the line is in, TAP 14 the one that begins after it."""
        if not self.started and column == 0:
            return False
        self.started = True
        group = self._at(column, hashed)
        if column and group.fresh:
            if group.name:  # it was its parent's own name, not that of this group
                self._groups[-2].inner = group.name
            group.name = name
        else:
            group.inner = name
        return True

    def _note(self, problem: str) -> None:
        self._problems[problem] = None

    # A program's own words on itself

    def _bail(self, column: int, hashed: bool, reason: str) -> None:
        """A program gave up."""
        group = self._at(column, hashed)
        problem = "the program gave up" + (f": {reason}" if reason else "")
        bail = KtapTest(BAIL_OUT, KtapOutcome.ERROR, None, "", reason, self._said(), (), (problem,))
        group.bails.append(bail)

    def _totals(self, column: int, hashed: bool, totals: Totals) -> None:
        """A line of totals belongs to the results of its level, KUnit's to the next result."""
        if totals.of_suite:
            self._suite_totals.append(totals)
            return
        group = self._at(column, hashed)
        group.totals = totals if group.totals is None else group.totals.merged(totals)

    # Results

    def _unannounced(self, column: int, hashed: bool, match: re.Match[str]) -> bool:
        """Opens a group for results that nothing announced; whether the line is one of them."""
        number = None if match[2] is None else int(match[2])
        for group in self._groups:
            if group.column == column and (group.hashed or not hashed):
                if number == 1 and group is self._groups[-1]:
                    self._forget_words(group)
                return group.announced or number == group.last + 1
        if number is None or column <= self._groups[-1].column:
            return False
        group = self._at(column, hashed)
        group.announced, group.first = False, match[0]
        return True

    def _result_line(self, column: int, hashed: bool, match: re.Match[str]) -> bool:
        verdict, number, rest = match[1], match[2], match[3]
        if number is None and not (self.started and (verdict == "not ok" or rest.startswith("- "))):
            return False  # "ok then": a program's own words
        if column and not (self.started and self._unannounced(column, hashed, match)):
            return False
        self.started = self._block.after_result = True
        self._close_beyond(column)
        glued = _GLUED.search(rest)  # a message of the kernel's that begins on the line
        name = rest[: glued.start()] if glued else rest
        self._result(verdict == "ok", None if number is None else int(number), name)
        if glued:
            self._pending.append(rest[glued.end() :])
        return True

    def _result(self, ok: bool, number: int | None, rest: str) -> None:
        group = self._groups[-1]
        name, directive, reason = described(rest)
        outcome, problems = outcome_of(ok, directive)
        children = self._children(group, name)
        if number is None:
            problems.append("it has no number")
        elif number != group.last + 1:
            problems.append(f"its number is {number} where {group.last + 1} was to come")
        group.last = group.last + 1 if number is None else number
        group.failed += outcome.failed
        failed = sum(child.outcome.failed for child in children)
        if failed and outcome in (KtapOutcome.PASS, KtapOutcome.SKIP):
            outcome = KtapOutcome.FAIL
            problems.append(
                f"its result is {'ok' if ok else 'not ok'}{f' # {directive}' if directive else ''}"
                f" although {failed} of the {len(children)} tests within it failed"
            )
        elif children and not failed and outcome.failed:
            problems.append(
                f"its result is not ok although none of the {len(children)} tests within it failed"
            )
        wrong, self._suite_totals = self._wrong_totals(children), []
        if wrong:
            problems += wrong
            outcome = outcome if outcome.failed else KtapOutcome.FAIL
        group.tests.append(
            KtapTest(
                name or f"test {group.last}",
                outcome,
                number,
                directive,
                reason,
                self._said(),
                children,
                tuple(problems),
            )
        )

    def _wrong_totals(self, children: tuple[KtapTest, ...]) -> list[str]:
        """What KUnit's totals before a result say against its children."""
        found = [contradiction(totals, children) for totals in self._suite_totals if children]
        return [problem for problem in found if problem]

    def _children(self, group: _Group, name: str) -> tuple[KtapTest, ...]:
        """The tests that end with the result `name`: those of the groups that wait for it."""
        own: list[KtapTest] = []
        waiting, group.waiting = group.waiting, []
        for title, tests in waiting:
            if title in ("", name):
                own += tests
            else:
                group.tests.append(orphan(title, tests))
                group.last += 1
        return tuple(own)

    def _said(self) -> tuple[str, ...]:
        said, self._pending = tuple(self._pending), []
        return said

    # Ends

    def _close_beyond(self, column: int) -> None:
        while self._groups[-1].column > column:
            self._close()

    def _close(self) -> None:
        """Ends the innermost group: what is missing in it becomes a test that failed."""
        group = self._groups.pop()
        # A whole document may be indented: then its tests have no parent.
        bare = not (self._groups or group.tests or group.header) and group.plan is None
        self._forget_words(group)
        for title, tests in group.waiting:
            if bare and not title:
                group.tests += tests
            else:
                group.tests.append(orphan(title, tests))
        self._check(group, root=not self._groups)
        if self._groups:
            if group.tests or group.name:
                self._groups[-1].waiting.append((group.name, tuple(group.tests)))
        elif group.inner and group.tests:
            self._done.append(parent(group.inner, group.tests))
        else:
            self._done += group.tests

    def _forget_words(self, group: _Group) -> None:
        """A lone result that nothing announced is a program's words, but for ``not ok 1``."""
        alone = len(group.tests) == 1 and not (group.waiting or group.bails)
        if group.announced or group.totals or not alone:
            return
        (test,) = group.tests
        if not test.children and (test.number != 1 or not test.outcome.failed):
            group.tests, group.last = [], 0
            self._pending = [*test.diagnostics, group.first, *self._pending]

    def _check(self, group: _Group, root: bool) -> None:
        """Compares a group with its plan, and with what it says of itself."""
        self._check_plan(group, root)
        results = [t for t in group.tests if t.name not in (MISSING, UNPLANNED)]
        said = contradiction(group.totals, results, group.failed) if group.totals else None
        if said:
            group.tests.append(KtapTest(TOTALS, KtapOutcome.FAIL, problems=(said,)))
        group.tests += group.bails

    def _check_plan(self, group: _Group, root: bool) -> None:
        saw = len(group.tests)
        planned = max(group.plan or 0, group.last if group.plan is None else 0)
        if saw < planned:
            group.tests.append(self._missing(f"planned {planned}, saw {saw}"))
        elif group.plan is not None and saw > group.plan:
            group.tests.append(
                KtapTest(
                    UNPLANNED, KtapOutcome.FAIL, problems=(f"planned {group.plan}, saw {saw}",)
                )
            )
        elif saw == 0 and root and group.plan == 0:
            name, directive, reason = described(f"1..0 # {group.skip}")
            group.tests.append(
                KtapTest(
                    name,
                    KtapOutcome.SKIP,
                    None,
                    directive,
                    reason or "no test is planned",
                    self._said(),
                )
            )
        elif saw == 0 and root and group.header and not group.bails:
            group.tests.append(self._missing("a version line, then neither plan nor result"))

    def _missing(self, problem: str) -> KtapTest:
        said = self._said()
        return KtapTest(MISSING, KtapOutcome.MISSING, diagnostics=said, problems=(problem,))

    def end(self) -> KtapReport:
        """The report; what is still open ends here."""
        while self._groups:
            self._close()
        return KtapReport(tuple(self._done), self._said(), tuple(self._problems))
