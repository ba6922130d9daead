# SPDX-License-Identifier: MIT
"""What each test's case in ``--junitxml`` has as properties, whether it passed or not: its verdict,
and of each of its machines the transcript's path and QEMU's command.
"""

from __future__ import annotations

import pytest

from harness.errors import Verdict
from harness.pytest_plugin.boots import BOOTS
from harness.testrun.junit import PASS, QEMU, SKIP, TRANSCRIPT, VERDICT, XFAIL

_VERDICT = pytest.StashKey[str]()


def note(item: pytest.Item, report: pytest.TestReport) -> None:
    """Takes a report of a test; the last one, of its end, gets the properties."""
    if isinstance(report, pytest.SubtestReport):
        return
    if report.failed and item.stash.get(_VERDICT, "") in ("", PASS):
        own = Verdict.PRODUCT if report.when == "call" else Verdict.INFRASTRUCTURE
        item.stash[_VERDICT] = own.value
    elif report.skipped:
        item.stash[_VERDICT] = XFAIL if hasattr(report, "wasxfail") else SKIP
    elif report.when == "call":
        item.stash[_VERDICT] = PASS
    if report.when != "teardown":
        return
    if VERDICT not in dict(report.user_properties):
        report.user_properties.append((VERDICT, item.stash.get(_VERDICT, PASS)))
    for machine in item.stash[BOOTS].machines if BOOTS in item.stash else []:
        if (place := machine.transcript.directory) is not None:
            report.user_properties.append((TRANSCRIPT, str(place / "transcript.txt")))
        report.user_properties.append((QEMU, machine.command()))
