# SPDX-License-Identifier: MIT
"""What a failed test says of its machines."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import BuildError, HarnessError, UserError, Verdict
from harness.plaintext import clean, shortened
from harness.pytest_plugin import blame
from harness.pytest_plugin.boots import BOOTS
from harness.pytest_plugin.cases import CaseReporter, KtapFailed
from harness.pytest_plugin.session import session_of

MOST_LINES = 1000
"""Lines of one section of a report; the transcript has all of them."""

TIMED_OUT = "Timeout (>"
"""How pytest-timeout's failure begins."""


def explain(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """Adds sections to a failed report: whose fault it is, and how to reproduce it."""
    error = call.excinfo.value if call.excinfo is not None else None
    machines = item.stash[BOOTS].machines if BOOTS in item.stash else []
    stalled = blame.stalled(machines)
    cases = item.stash.get(CaseReporter.KEY, None)
    if cases is not None and cases.current:
        cases.explain(report, error, stalled)
        return
    if not report.failed or error is None:
        return
    if isinstance(error, KtapFailed):
        report.longrepr = f"{type(error).__name__} ({error.verdict.value}): {error}"
    verdict = error.verdict if isinstance(error, HarnessError) else Verdict.PRODUCT
    if isinstance(error, pytest.fail.Exception) and str(error).startswith(TIMED_OUT):
        # pytest-timeout: the test has waited for its guest, whatever it did, for minutes.
        verdict = Verdict.TIMEOUT
    if isinstance(error, OSError | MemoryError):
        # No guest can cause these: this host is out of memory, disk space or descriptors.
        verdict = Verdict.INFRASTRUCTURE
    if BOOTS not in item.stash:
        if isinstance(error, UserError | BuildError):
            # Of what a repository brings: where this was found out is of no use to its owner.
            report.longrepr = clean(f"{type(error).__name__}: {error}")
        return
    if isinstance(error, HarnessError):
        told = [f"{type(error).__name__} ({verdict.value}): {error}"]
        report.longrepr = "\n".join(told + getattr(error, "__notes__", []))
    if verdict is not Verdict.INFRASTRUCTURE:
        excuse = stalled or blame.spoilt(machines)
        if excuse:
            verdict = Verdict.INFRASTRUCTURE
            report.longrepr = f"{excuse}\n{report.longreprtext}"
    facts: list[tuple[str, object]] = [("verdict", verdict.value)]
    if call.excinfo is not None and (line := _failing_line(item, call.excinfo)):
        facts.append(("line", line))
    if report.when == "teardown" and "verdict" not in dict(item.user_properties):
        # The last report: it has its own list of what was known of the test before.
        report.user_properties += facts
    item.user_properties += facts
    lines = [f"verdict: {verdict.value}"]
    for number, machine in enumerate(item.stash[BOOTS].machines):
        lines += [f"machine {number}, the same again:", f"  {machine.command()}"]
        lines += [machine.last_words(12)]
    report.sections.append(("guest", "\n".join(lines)))
    _make_fit(report)
    settings = session_of(item.config).settings
    if settings.shell and not settings.hold and item.stash[BOOTS].machines:
        from harness.pytest_plugin.terminal import open_shell

        open_shell(item.config, item.stash[BOOTS].machines[-1], "the failed test's machine")


def hold(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """``--qemu-hold``: opens the machine of a test that has ended, or could not begin."""
    if call.when == "teardown" or (call.when == "setup" and not report.failed):
        return
    machines = item.stash[BOOTS].machines if BOOTS in item.stash else []
    if not machines or not (how := session_of(item.config).settings.hold):
        return
    from harness.pytest_plugin.terminal import open_gdb, open_shell

    if report.failed:
        print(f"\r\n{clean(report.longreprtext)}\r")
    said = f"the machine as {item.name} left it ({report.outcome})"
    if how == "gdb":
        open_gdb(item.config, machines[-1], said)
    else:
        open_shell(item.config, machines[-1], said)


def _failing_line(item: pytest.Item, error: pytest.ExceptionInfo[BaseException]) -> str:
    """``tests/cma/test_app.py:57: assert before == after``: the last line of the test's own file
    that was being executed; empty for none.
    """
    own = [entry for entry in error.traceback if str(entry.path) == str(item.path)]
    if not own:
        return ""
    statement = str(own[-1].statement).strip().partition("\n")[0]
    file = item.nodeid.partition("::")[0]
    return f"{file}:{own[-1].lineno + 1}: {statement}"


def _make_fit(report: pytest.TestReport) -> None:
    """Cleans what a report says, as it may quote a guest, and keeps it at a bearable length.

    A report that needs neither stays as pytest made it, with its colours.
    """
    text = report.longreprtext
    if (fit := shortened(clean(text), MOST_LINES)) != text:
        report.longrepr = fit
    report.sections = [(name, shortened(clean(text), MOST_LINES)) for name, text in report.sections]
