# SPDX-License-Identifier: MIT
"""``--qemu-results FILE``: each test's result as a line of JSON, when it is there. The run ends
early once there is a `stop_file` beside it.

Keys are those of `harness.testrun.result.CaseResult`, without its transcript.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import IO

import pytest

from harness.errors import UserError, Verdict
from harness.host.output import check_file
from harness.pytest_plugin.ktap_file import outcome_of, reason_of
from harness.testrun.result import CaseResult, stop_file

ENOUGH = "stopping after what is known is enough"


class LiveResults:
    """Writes a line at the end of each test: its worst report."""

    def __init__(self, path: Path, config: pytest.Config) -> None:
        self._config = config
        self._stop = stop_file(path)
        self._stop.unlink(missing_ok=True)
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._open: dict[str, CaseResult] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes one report of a test; the one of its end completes it."""
        if isinstance(report, pytest.SubtestReport):
            return
        known = self._open.get(report.nodeid)
        seconds = report.duration + (known.seconds if known else 0.0)
        outcome = outcome_of(report)
        if known is None or (outcome == "failed" and not known.failed):
            said = _said(report) if outcome not in (None, "passed") else ""
            verdict = Verdict.PRODUCT if report.when == "call" else Verdict.INFRASTRUCTURE
            told = verdict.value if outcome == "failed" else ""
            known = CaseResult(report.nodeid, outcome or "passed", told, said)
        elif not known.failed and outcome is not None:
            said = reason_of(report) if outcome != "passed" else ""
            known = dataclasses.replace(known, outcome=outcome, message=said)
        known = dataclasses.replace(known, seconds=seconds)
        if known.failed and (by := dict(report.user_properties).get("verdict")):
            known = dataclasses.replace(known, verdict=str(by))
        if known.failed and (at := dict(report.user_properties).get("line")):
            known = dataclasses.replace(known, line=str(at))
        self._open[report.nodeid] = known
        if report.when == "teardown":
            del self._open[report.nodeid]
            row = dataclasses.asdict(known)
            row.pop("artifact")
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            if self._stop.exists():
                self._end()

    def _end(self) -> None:
        """Has no further test begin, as ``--maxfail`` does."""
        manager = self._config.pluginmanager
        xdist = manager.get_plugin("dsession")
        if xdist is not None:
            xdist.shouldstop = ENOUGH
        else:
            manager.get_plugin("session").shouldfail = ENOUGH  # type: ignore[union-attr]

    def pytest_sessionfinish(self) -> None:
        """Ends the file."""
        self._file.close()


def _said(report: pytest.TestReport) -> str:
    """Why, beginning with what was raised: xdist's own line on the worker says nothing of that."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(getattr(crash, "message", "")) if report.failed else ""
    text = said or reason_of(report)
    first, _, rest = text.partition("\n")
    return rest if first.startswith("[gw") else text


def register(config: pytest.Config, path: Path | None) -> None:
    """Writes results where a file was asked for, in the process that hears of all of them.

    Raises `pytest.UsageError` for a file that holds something else.
    """
    if path is not None and not hasattr(config, "workerinput"):
        try:
            check_file(path, ["{"])
        except UserError as error:
            raise pytest.UsageError(f"--qemu-results: {error}") from None
        config.pluginmanager.register(LiveResults(path, config), "harness-live-results")
