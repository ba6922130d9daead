# SPDX-License-Identifier: MIT
"""KTAP that a guest prints, as subtests of the test that had it printed."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import islice

import pytest

from harness.errors import HarnessError, Verdict
from harness.guest.guest import Guest
from harness.ktap import Case, KtapOutcome, KtapReport, NoKtap, parse_ktap
from harness.machine.channel import CommandResult
from harness.machine.config import MachineConfig
from harness.machine.crash import STAMP
from harness.machine.machine import Machine
from harness.plaintext import clean
from harness.pytest_plugin.boots import Boots
from harness.pytest_plugin.junit import PROPERTY, case_of
from harness.pytest_plugin.session import Session
from harness.testrun.junit import PASS, SKIP, VERDICT, XFAIL

MOST = 10_000
"""Cases of one text that are reported one by one."""
FIRST, LAST = 40, 20
"""Lines of a failed case's diagnostics that are shown, from its start and its end."""
WIDEST = 500
"""Characters of a name or a line that are shown."""
SKIPPED = 4
"""Exit status of a selftest that was skipped (``tools/testing/selftests/kselftest.h``)."""
DRAIN = 10.0
"""Seconds for what the kernel said during a command to arrive."""


class KtapCaseFailed(HarnessError):
    """One case failed; `verdict` says whether by itself, or because the guest crashed or ended."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict


class KtapFailed(HarnessError):
    """Cases of a test failed; each was reported by itself before."""

    verdict = Verdict.PRODUCT


class CaseReporter:
    """Makes subtests of cases. Its test fails at its end if one of them did."""

    KEY: pytest.StashKey[CaseReporter] = pytest.StashKey()

    def __init__(self, item: pytest.Item, subtests: pytest.Subtests) -> None:
        self.current = ""
        """The name of the case whose report is being made; empty between them."""
        self._names: Counter[str] = Counter()
        self._item = item
        self._subtests = subtests
        self._named: list[str] = []
        self._failures = 0
        self._total = 0

    def report(self, report: KtapReport, cut_by: Verdict = Verdict.PRODUCT) -> None:
        """Reports all cases. `cut_by` is the verdict on those whose results did not come."""
        cases = report.cases()
        notes = list(report.problems)
        for case in islice(cases, MOST):
            failed = case.test.outcome.failed
            self._one(case, cut_by if case.test.outcome is KtapOutcome.MISSING else Verdict.PRODUCT)
            notes += [] if failed else [f"{_short(str(case))}: {p}" for p in case.test.problems]
        rest = Counter(case.test.outcome.failed for case in cases)
        if rest:
            notes.append(f"{rest.total()} more cases were counted, not reported one by one")
            self._total += rest.total()
            self._failures += rest[True]
        if rest[True]:
            self._named.append(f"{rest[True]} of the {rest.total()} after the first {MOST}")
        if notes:
            more = f" (and {len(notes) - 5} more)" if len(notes) > 5 else ""
            warnings.warn(clean(f"KTAP: {'; '.join(notes[:5])}{more}"), stacklevel=3)

    def _one(self, case: Case, verdict: Verdict) -> None:
        self._total += 1
        test, path = case.test, _short(str(case))
        self._names[path] += 1
        if (times := self._names[path]) > 1:  # who reads the reports knows them by their names
            path = f"{path} ({times})"
        if test.outcome.failed:
            self._failures += 1
            self._named.append(path)
        self.current = path
        try:
            with self._subtests.test(path):
                if test.outcome is KtapOutcome.SKIP:
                    pytest.skip(test.reason or "it says no reason")
                if test.outcome is KtapOutcome.XFAIL:
                    pytest.xfail(test.reason or "it says no reason")
                if test.outcome.failed:
                    raise KtapCaseFailed(describe(case), verdict)
        finally:
            self.current = ""

    def settle(self) -> None:
        """Raises `KtapFailed` if a case failed."""
        if self._failures:
            shown = ", ".join(self._named[:10]) + (", …" if len(self._named) > 10 else "")
            raise KtapFailed(f"{self._failures} of {self._total} KTAP cases failed: {shown}")

    def explain(
        self, report: pytest.TestReport, error: BaseException | None, stalled: str = ""
    ) -> None:
        """Makes the report one of the current case: its diagnostics, without our traceback.
        `stalled` says why it proves nothing, if so.
        """
        report.user_properties = [(PROPERTY, self.current)]
        if isinstance(error, KtapCaseFailed):
            verdict = Verdict.INFRASTRUCTURE if stalled else error.verdict
            report.user_properties.append((VERDICT, verdict.value))
            told = f"{type(error).__name__} ({verdict.value}): {error}"
            report.longrepr = f"{stalled}\n{told}" if stalled else told
            return
        known = XFAIL if hasattr(report, "wasxfail") else SKIP
        report.user_properties.append((VERDICT, known if report.skipped else PASS))
        if report.skipped and isinstance(report.longrepr, tuple):
            path, line, _ = self._item.location
            report.longrepr = (path, (line or 0) + 1, report.longrepr[2])


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def describe(case: Case) -> str:
    """What there is to say of a failed case."""
    test = case.test
    lines = [f"{case} {test.outcome.value}" + (f": {test.reason}" if test.reason else "")]
    lines += [*test.problems, *test.diagnostics[:FIRST]]
    if (left_out := len(test.diagnostics) - FIRST - LAST) > 0:
        lines.append(f"[{left_out} lines left out; the transcript has them]")
    lines += test.diagnostics[FIRST:][-LAST:]
    return "\n".join(_short(line) for line in lines)


class Ktap:
    """Has a guest print KTAP, and reports its cases."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        reporter: CaseReporter,
        boots: Boots,
        config: MachineConfig,
        timeout: float,
    ) -> None:
        self._request = request
        self._reporter = reporter
        self._boots = boots
        self._config = config
        self._timeout = timeout

    def run(self, command: str, timeout: float | None = None) -> KtapReport:
        """Runs a command in the test's `guest` and reports the cases of its standard output, and
        those that the kernel logs meanwhile (a KUnit module).

        Raises `NoKtap` where there are none, `CommandFailed` where all passed and the exit status
        says otherwise, and the guest's crash or end, after the cases that were printed before.
        """
        guest: Guest = self._request.getfixturevalue("guest")
        machine, start, output = guest.machine, len(guest.machine.log), b""
        try:
            result = guest.run(command, self._timeout if timeout is None else timeout, check=False)
            output = result.stdout
            machine.channel.probe(DRAIN)
        except HarnessError as error:
            self._report_cut(getattr(error, "output", output), kernel_log(machine, start), error)
            raise
        report = _joined(_parsed(output), _parsed(kernel_log(machine, start), versioned=True))
        if report is None:
            raise _no_ktap(result)
        self._reporter.report(report)
        outcomes = {case.test.outcome for case in report.cases()}
        told = any(outcome.failed for outcome in outcomes)  # a selftest ends with 1 after that
        if not told and not (result.status == SKIPPED and outcomes == {KtapOutcome.SKIP}):
            result.check()
        return report

    def boot(self) -> KtapReport:
        """Boots a machine of the test's own and reports the cases in its kernel log (KUnit).

        Raises `NoKtap` where there are none, and the guest's crash or end, after the cases before.
        """
        before = len(self._boots.machines)
        try:
            guest = self._boots.cold(self._config)
        except HarnessError as error:
            for machine in self._boots.machines[before:]:
                self._report_cut(b"", kernel_log(machine), error)
            raise
        report = _parsed(kernel_log(guest.machine), versioned=True)
        if report is None:  # a quiet console; the ring buffer has it all the same
            report = _parsed(guest.run("dmesg", check=False).text, versioned=True)
        if report is None:
            raise NoKtap(
                "the kernel log of the boot has no KTAP: no KUnit suite is built into this kernel"
                " (CONFIG_KUNIT), or kunit.enable=0"
            )
        self._reporter.report(report)
        return report

    def _report_cut(self, output: bytes, log: str, error: HarnessError) -> None:
        """Reports what there was until the guest's end."""
        report = _joined(_parsed(output), _parsed(log, versioned=True))
        if report is not None:
            try:
                self._reporter.report(report, error.verdict)
            except KtapCaseFailed:  # pytest -x: the run stops here
                raise error from None


def kernel_log(machine: Machine, start: int = 0) -> str:
    """What the kernel said on the console from a position on, without the words of programs where
    the kernel stamps its own.
    """
    text = machine.log.text(start)
    if not machine.watcher.stamped:
        return text
    found = ((line, STAMP.search(line)) for line in text.split("\n"))
    return "\n".join(line[stamp.start() :] for line, stamp in found if stamp)


def _parsed(text: str | bytes, *, versioned: bool = False) -> KtapReport | None:
    try:
        return parse_ktap(text, versioned=versioned)
    except NoKtap:
        return None


def _joined(*reports: KtapReport | None) -> KtapReport | None:
    found = [report for report in reports if report is not None]
    if not found:
        return None
    return KtapReport(
        tuple(test for report in found for test in report.tests),
        tuple(line for report in found for line in report.diagnostics),
        tuple(problem for report in found for problem in report.problems),
    )


def _no_ktap(result: CommandResult) -> NoKtap:
    try:
        parse_ktap(result.stdout)
    except NoKtap as error:
        said = result.stderr.decode("utf-8", "replace").strip()
        return NoKtap(
            f"in the guest, `{result.command[:WIDEST]}` ended with status {result.status}:"
            f" {error}" + (f"\nstandard error:\n{said[-800:]}" if said else "")
        )
    raise AssertionError("it has KTAP")


@pytest.fixture
def ktap_cases(request: pytest.FixtureRequest, subtests: pytest.Subtests) -> CaseReporter:
    """Reports the cases of a KTAP text that the test has from anywhere."""
    reporter = CaseReporter(request.node, subtests)
    request.node.stash[CaseReporter.KEY] = reporter
    return reporter


@pytest.fixture
def ktap(
    request: pytest.FixtureRequest,
    ktap_cases: CaseReporter,
    qemu_session: Session,
    boots: Boots,
    machine_config: MachineConfig,
) -> Ktap:
    """Has a guest print KTAP, and reports its cases as subtests."""
    timeout = qemu_session.settings.ktap_timeout
    return Ktap(request, ktap_cases, boots, machine_config, timeout)


def parametrize(metafunc: pytest.Metafunc, commands: tuple[str, ...], timeout: float) -> None:
    """Runs tests that take `ktap_command` once for each command of ``--qemu-ktap``."""
    none = pytest.mark.skip(reason="give a command that prints KTAP: --qemu-ktap COMMAND")
    parameters = [
        pytest.param(
            command,
            id=" ".join(command.split())[:60],
            marks=pytest.mark.timeout(timeout + 60),  # boot and report included
        )
        for command in commands
    ]
    metafunc.parametrize("ktap_command", parameters or [pytest.param("", id="none", marks=none)])


def summary(reporter: pytest.TerminalReporter) -> None:
    """Says how many cases each test had: pytest shows passed subtests to nobody but ``-v``."""
    counts: dict[str, Counter[str]] = {}
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and case_of(report) is not None:
                outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
                counts.setdefault(report.nodeid, Counter())[outcome] += 1
    if counts:
        reporter.write_sep("-", "KTAP cases")
    for nodeid, count in counts.items():
        told = [f"{count[word]} {word}" for word in ("failed", "passed", "skipped", "xfailed")]
        shown = [words for words in told if not words.startswith("0 ")]
        reporter.write_line(f"{nodeid}: {', '.join(shown)}")
