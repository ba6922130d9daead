# SPDX-License-Identifier: MIT
"""``--ktap FILE``: the run's results as KTAP, the guests' own KTAP cases among them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.errors import UserError, Verdict
from harness.host.output import check_file, save
from harness.pytest_plugin.junit import case_of
from harness.testrun.ktap import render
from harness.testrun.result import CaseResult, Outcome

OPTION = "--ktap"
HEADS = ("KTAP version", "TAP version")


def register(config: pytest.Config) -> None:
    """Collects results where a file was asked for. Raises `pytest.UsageError`."""
    given = config.getoption(OPTION)
    if not given or hasattr(config, "workerinput"):
        return  # xdist's workers send their reports to the process that has this plugin
    path = config.invocation_params.dir / given
    if path.is_dir() or not path.parent.is_dir():
        raise pytest.UsageError(f"{OPTION} {given}: expected a file in a directory that there is")
    try:
        check_file(path, HEADS)
    except UserError as error:
        raise pytest.UsageError(f"{OPTION}: {error}") from None
    config.pluginmanager.register(KtapFile(path), "harness-ktap-file")


class KtapFile:
    """Gathers each test's result, and writes the file when the run ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cases: dict[str, CaseResult] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes one report; of a test with several, the worst counts."""
        case = case_of(report)
        if case is None and isinstance(report, pytest.SubtestReport):
            return  # its test fails with it
        test = report.nodeid if case is None else f"{report.nodeid} > {case}"
        known = self._cases.get(test)
        seconds = report.duration + (known.seconds if known else 0.0)
        outcome = outcome_of(report)
        verdict = str(dict(report.user_properties).get("verdict", ""))
        if known is not None and known.failed:
            if verdict:  # it comes with the report of the test's end
                self._cases[test] = dataclasses.replace(known, verdict=verdict, seconds=seconds)
            return
        if outcome is None:
            return
        failed = outcome == "failed"
        if failed and not verdict:
            own = report.when == "call"
            verdict = (Verdict.PRODUCT if own else Verdict.INFRASTRUCTURE).value
        said = reason_of(report) if outcome != "passed" else ""
        self._cases[test] = CaseResult(test, outcome, verdict if failed else "", said, seconds)

    def pytest_sessionfinish(self) -> None:
        """Writes the file: whole, or not at all."""
        save(self._path, render(self._cases.values()), HEADS)


def outcome_of(report: pytest.TestReport) -> Outcome | None:
    """What the report says of its test; None for a set-up or an end that went well."""
    if report.failed:
        return "failed"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    return "passed" if report.when == "call" else None


def reason_of(report: pytest.TestReport) -> str:
    """Why a test failed or did not run, as pytest tells it."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "")) or report.longreprtext
