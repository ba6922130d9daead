# SPDX-License-Identifier: MIT
"""Tests that newly fail: the patch's fault only where the base passes them again, here and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.gate.causes import alike, by_cause
from harness.gate.findings import failure, short_name
from harness.gate.result import Finding, FindingKind, TestChange
from harness.testrun.result import CaseResult

Results = Mapping[str, CaseResult]
"""By the tests' names."""


def findings(failing: Sequence[TestChange], stored: Results, now: Results) -> list[Finding]:
    """A finding for each cause of tests that newly fail. It is the patch's fault only where the
    base is known to pass: by its `stored` results, and by those of the canary, `now`.
    """
    both = [c.case for c in failing if c.test in now and now[c.test].system_at_fault]
    found = [
        _finding(change, stored.get(change.test), now.get(change.test), both) for change in failing
    ]
    unknown = [item for item in found if item.kind is FindingKind.INFRASTRUCTURE]
    return by_cause([item for item in found if item not in unknown]) + unknown


def _finding(
    change: TestChange,
    stored: CaseResult | None,
    now: CaseResult | None,
    both: Sequence[CaseResult],
) -> Finding:
    """`both` are the failing tests that the base fails now too."""
    if not change.case.known:
        why = change.message.partition("\n")[0]
    elif now is not None and now.system_at_fault:
        why = "the base fails it here and now too"
    elif now is None and any(alike(change.case, other) for other in both):
        why = "it fails as one does that the base fails here and now too"
    elif not any(case and case.outcome == "passed" for case in (now, stored)):
        why = "nothing is known of it on the base"
    else:
        return failure(change)
    title = f"{short_name(change.test)}: {why}"
    return Finding(FindingKind.INFRASTRUCTURE, title, change.message, test=change.test)


def without_result(known: Results, run: Results) -> list[Finding]:
    """A finding for tests that the base has a result of, and the run left none, not even skipped:
    their process was lost.
    """
    gone = [name for name, case in known.items() if case.ran and name not in run]
    if not gone:
        return []
    title = f"{len(gone)} tests left no result on the patched system: {short_name(gone[0])}"
    return [Finding(FindingKind.INFRASTRUCTURE, title, "\n".join(gone))]


def judging(cases: Sequence[CaseResult], known: Results) -> list[CaseResult]:
    """The results that say something of a patch: of tests that ran, and are known, on both."""
    return [
        case
        for case in cases
        if case.ran and case.known and case.test in known and known[case.test].ran
    ]
