# SPDX-License-Identifier: MIT
"""What test programs say of their own results, and whether it is so.

``# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0`` and ``# Planned tests != run tests (2 !=
1)`` come from ``tools/testing/selftests/kselftest.h``; ``# Totals: pass:2 fail:1 skip:1 total:4``
and ``# suite: pass:2 fail:1 skip:0 total:3`` from ``lib/kunit/test.c``, the first of these counts
the cases with parameters one by one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from harness.ktap.model import KtapTest

_COUNTS = re.compile(r"([^:]+):((?: [a-z]+:\d{1,9}){3,})")
_COUNT = re.compile(r"([a-z]+):(\d+)")
_PLAN = re.compile(r"Planned tests != run tests \((\d{1,9}) != (\d{1,9})\)")
_KNOWN = frozenset({"pass", "fail", "xfail", "xpass", "skip", "error", "total"})
_FAILED = ("fail", "error")


@dataclasses.dataclass(frozen=True)
class Totals:
    """One such line, or two of one program."""

    text: str
    total: int
    """Results."""
    failed: int | None = None
    """Those of them that failed; None where the line does not say."""
    planned: int | None = None
    """What the program had planned, where it says that it was not that."""
    of_suite: bool = False
    """It is KUnit's: it stands before the result of what it counts."""

    @classmethod
    def of(cls, body: str) -> Totals | None:
        """The totals of a line without its indentation and ``# ``; None where it is none."""
        if match := _PLAN.fullmatch(body):
            return cls(body, int(match[2]), planned=int(match[1]))
        match = _COUNTS.fullmatch(body)
        counts = {name: int(count) for name, count in _COUNT.findall(match[2])} if match else {}
        if not {"pass", "fail"} <= counts.keys() <= _KNOWN:
            return None
        failed = sum(counts.get(name, 0) for name in _FAILED)
        if "total" in counts:
            return cls(body, counts["total"], failed, of_suite=True)
        return cls(body, sum(counts.values()), failed)

    def merged(self, later: Totals) -> Totals:
        """Both lines of one program, the later one counting."""
        planned = self.planned if later.planned is None else later.planned
        failed = self.failed if later.failed is None else later.failed
        text = later.text if self.text == later.text else f"{self.text}; {later.text}"
        return Totals(text, later.total, failed, planned)


def contradiction(
    totals: Totals, results: Sequence[KtapTest], failed: int | None = None
) -> str | None:
    """What is wrong where the totals are not those of the results, of which `failed` say so."""
    counts = [_count(results) if failed is None else (len(results), failed)]
    if totals.of_suite:
        counts += [_count(_leaves(results)), *(_count(test.children) for test in results[-1:])]
    if any(_same(totals, *pair) for pair in counts) and not totals.planned:
        return None
    total, bad = counts[0]
    return f"it says `{totals.text}`, and there are {total} results, of which {bad} failed"


def _same(totals: Totals, total: int, failed: int) -> bool:
    return totals.total == total and totals.failed in (None, failed)


def _count(tests: Sequence[KtapTest]) -> tuple[int, int]:
    return len(tests), sum(test.outcome.failed for test in tests)


def _leaves(tests: Iterable[KtapTest]) -> list[KtapTest]:
    found: list[KtapTest] = []
    for test in tests:
        found += _leaves(test.children) if test.children else [test]
    return found
