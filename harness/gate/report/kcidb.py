# SPDX-License-Identifier: MIT
"""The result as a KCIDB document (`harness.testrun.kcidb`) and as KTAP (`harness.testrun.ktap`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.gate.result import Decision, FindingKind, GateResult
from harness.testrun import kcidb, ktap
from harness.testrun.kcidb import Checkout, KernelBuild
from harness.testrun.result import CaseResult

ORIGIN = "vexpress_cma"
"""The name of the CI where nobody gave another."""
CHECK = "vexpress-cma-gate"
"""Name of the check that Patchwork gets."""
GATE = "gate"
"""The test that stands for the decision."""
_REFUSED = (FindingKind.INPUT, FindingKind.APPLY, FindingKind.SCOPE)
_UNBUILT = (FindingKind.BUILD, FindingKind.CONTAINED)


def document(result: GateResult, origin: str = ORIGIN) -> dict[str, Any]:
    """The checkout with its patches, the build, every test, and the decision as the test ``gate``.

    Raises `UserError` for an origin that is no name.
    """
    apart = _said(result, _REFUSED)
    subjects = ", ".join(patch.subject or patch.name for patch in result.patches)
    checkout = Checkout(
        name=" with ".join(filter(None, (result.base, subjects))),
        started=result.started,
        patches=tuple((patch.name, patch.digest) for patch in result.patches),
        valid=not apart,
        message=apart,
    )
    broken = _said(result, _UNBUILT)
    status = "FAIL" if broken else "PASS"
    if not broken and result.decision is Decision.INFRASTRUCTURE and not result.cases:
        status = "MISS"
    build = KernelBuild(
        name="gate",
        release=result.release,
        status=status,
        message=broken,
        seconds=next((stage.seconds for stage in result.stages if stage.name == "build"), None),
        cases=_cases(result),
    )
    return kcidb.report(origin, [(checkout, [] if apart else [build])])


def render(result: GateResult, origin: str = ORIGIN) -> str:
    """The same as text."""
    return json.dumps(document(result, origin), indent=1) + "\n"


def render_ktap(result: GateResult) -> str:
    """Every test on the patched system, and the decision."""
    return ktap.render(_cases(result))


_STATES = {Decision.ACCEPTED: "success", Decision.REJECTED: "fail"}


def check(result: GateResult, url: str = "") -> dict[str, str]:
    """The verdict as a check of Patchwork; a warning where nothing is known of the patch."""
    state = _STATES.get(result.decision, "warning")
    return kcidb.patchwork_check(state, result.reason, CHECK, url)


def _cases(result: GateResult) -> list[CaseResult]:
    return [*result.cases, _decision(result)]


def _decision(result: GateResult) -> CaseResult:
    if result.decision is Decision.ACCEPTED:
        return CaseResult(GATE, "passed", message=result.reason)
    if result.decision is Decision.NOT_JUDGED:
        return CaseResult(GATE, "skipped", message=result.reason)
    rejected = result.decision is Decision.REJECTED
    return CaseResult(GATE, "failed", "product" if rejected else "infrastructure", result.reason)


def _said(result: GateResult, kinds: Sequence[FindingKind]) -> str:
    """What the findings of these kinds say; empty where there are none."""
    found = [item for item in result.findings if item.kind in kinds]
    return "\n".join(f"{item.title}\n{item.detail}".strip() for item in found)
