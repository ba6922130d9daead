# SPDX-License-Identifier: MIT
"""The suite's results on the unpatched system: run once, kept in the cache, compared with later."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from harness.board import QEMU
from harness.coverage.functions import FUNCTIONS
from harness.coverage.functions import read as read_functions
from harness.coverage.record import RECORD
from harness.coverage.record import read as read_lines
from harness.errors import HarnessError, UserError
from harness.gate.result import ResultChange, TestChange
from harness.gate.selection import Evidence
from harness.gate.settled import run_settled
from harness.host.files import write_text
from harness.host.process import capture
from harness.host.project import ROOT
from harness.imageset.linetable import RULE, TRACED
from harness.imageset.model import ImageSet
from harness.machine.executed import EVERY_FUNCTION
from harness.pytest_plugin.selection import name_without_kernel
from harness.testrun.result import FAILED, PASSED, CaseResult, SuiteResult
from harness.testrun.suite import Suite, coverage_of

Results = Mapping[str, CaseResult]
"""By the tests' names."""

_ABOVE = {"gate", "mutants", "nightly", "bench", "cli", "report"}
"""Parts of the harness that no test of the suite sees: its results are the same without them."""
_FIRST = (
    "what each test executes on the base is not known yet: running all of them there, which takes"
    " some minutes, once"
)
SUITE = "tests/cma"


def suite_digest() -> str:
    """Changes with the tests, with what of the harness runs them, and with QEMU."""
    return _digest(("harness", SUITE))


def tests_digest() -> str:
    """Changes with the tests and QEMU alone, and with what is noted of them: which functions they
    execute does not depend on the rest.
    """
    return _digest((SUITE,), " ".join((*TRACED, RULE)))


@functools.cache
def _digest(directories: tuple[str, ...], more: str = "") -> str:
    digest = hashlib.sha256(more.encode() + capture([QEMU, "--version"])[1])
    for directory in directories:
        for path in sorted((ROOT / directory).rglob("*.py")):
            name = path.relative_to(ROOT)
            if not name.is_relative_to("harness") or name.parts[1] not in _ABOVE:
                digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class Baselines:
    """The stored results of unpatched systems, and what their tests executed."""

    def __init__(
        self, directory: Path, say: Callable[[str], None], given: Path | None = None
    ) -> None:
        """What is in `directory`, and what another machine found out: `given`, see `copy`."""
        self._directory = directory
        if given is not None:
            with contextlib.suppress(OSError, ValueError):  # it is only slower
                _copy(given, directory)
        self._say = say
        self._tried: dict[Path, Results] = {}
        """What was known after a run of all tests, by this object."""

    def stored(self, images: ImageSet) -> Evidence | None:
        """What each test executes on a system, where that is kept."""
        return _read_evidence(self._path(images, tests_digest()))

    def evidence(self, suite: Suite, images: ImageSet, to: Path) -> tuple[Evidence | None, float]:
        """What each test of the whole suite executes on the unpatched system; None where that
        cannot be known. And the seconds that it took to get it: 0 where it was kept.

        Raises `HarnessError` where a run says nothing at all.
        """
        path = self._path(images, tests_digest())
        if (kept := _read_evidence(path)) is not None:
            return kept, 0.0
        self._say(_FIRST)
        run = self._run(suite.tracing((*TRACED, EVERY_FUNCTION)), images, to, None)
        self._say(f"the base's {run.tests} tests took {run.seconds:.0f} s; that is kept")
        self._keep(self._path(images, suite_digest()), run, whole=True)
        found = _read_evidence(coverage_of(to))
        if found is None:
            return None, run.seconds
        ran = {name_without_kernel(case.test) for case in run.cases if case.ran}
        # What ended early has executed less than it would.
        cut = {name_without_kernel(case.test) for case in run.cases if not case.known}
        blind = frozenset((ran - found.functions.tests.keys()) | cut)
        found = dataclasses.replace(found, blind=blind)
        if run.status in (PASSED, FAILED):
            with contextlib.suppress(OSError):  # it is only slower next time
                _keep_evidence(found, path)
        return found, run.seconds

    def seconds(self, images: ImageSet) -> dict[str, float]:
        """How long each test took on a system, by its name without a kernel, as far as results are
        kept.
        """
        kept, _ = _read(self._path(images, suite_digest()))
        return {name_without_kernel(test): case.seconds for test, case in kept.items()}

    def results(
        self, suite: Suite, images: ImageSet, tests: Collection[str] | None, to: Path
    ) -> tuple[Results, float]:
        """Each test's result on the unpatched system, of these tests or of all; those that are not
        kept are run. And the seconds that this took.

        A failure is among them only where it came twice, and none that infrastructure made: of
        those tests nothing is known. Raises `HarnessError` where a run says nothing at all.
        """
        path = self._path(images, suite_digest())
        if path in self._tried:
            return _of(self._tried[path], tests), 0.0
        kept, whole = _read(path)
        names = {name_without_kernel(test) for test in kept}
        missing = None if tests is None else [test for test in tests if test not in names]
        if whole or missing == []:
            return _of(kept, tests), 0.0
        count = "all" if missing is None else f"{len(missing)} of these"
        self._say(f"the base has no stored result of {count} tests: running them there first")
        select = None
        if missing is not None:
            select = to.with_name("missing.txt")
            write_text(select, "".join(f"{test}\n" for test in missing))
        run = self._run(suite, images, to, select)
        known = self._keep(path, run, whole=tests is None)
        return _of({**kept, **known}, tests), run.seconds

    def copy(self, images: ImageSet, to: Path) -> None:
        """Puts what is kept of a system into a directory. Raises `OSError`."""
        to.mkdir(parents=True, exist_ok=True)
        evidence = _beside(self._path(images, tests_digest()))
        for path in (self._path(images, suite_digest()), *evidence):
            if path.is_file():
                shutil.copyfile(path, to / path.name)

    def _path(self, images: ImageSet, digest: str) -> Path:
        words = f"{images.digest()} {digest}"
        return self._directory / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"

    def _run(self, suite: Suite, images: ImageSet, to: Path, select: Path | None) -> SuiteResult:
        run = run_settled(suite, images, to, self._say, select)
        if run.infrastructure and not run.tests:
            raise HarnessError(
                f"the suite did not run on the base (pytest's exit status {run.status});"
                f" see {run.log}"
            )
        return run

    def _keep(self, path: Path, run: SuiteResult, whole: bool) -> Results:
        """Adds what is known after a run to what is kept; gives it. `whole`: all tests ran."""
        known = {case.test: case for case in run.cases if case.known}
        if whole:
            self._tried[path] = known
        kept, before = _read(path)
        values = [
            {**dataclasses.asdict(case), "artifact": None} for case in {**kept, **known}.values()
        ]
        all_known = whole and len(known) == len(run.cases) and not run.infrastructure
        with contextlib.suppress(OSError):  # it is only slower next time
            write_text(path, json.dumps({"whole": all_known or before, "cases": values}))
        return known


def _copy(given: Path, to: Path) -> None:
    """Adds the files that are missing. Their names say what they are of, see `Baselines._path`."""
    for path in sorted(given.iterdir()):
        if not (to / path.name).exists():
            write_text(to / path.name, path.read_text())


def _of(known: Results, tests: Collection[str] | None) -> Results:
    """Those of some tests, named without a kernel; None: all."""
    wanted = None if tests is None else frozenset(tests)
    return {
        test: case
        for test, case in known.items()
        if wanted is None or name_without_kernel(test) in wanted
    }


def _beside(path: Path) -> tuple[Path, Path, Path]:
    """Where lines, functions and the names of tests without either are that belong together."""
    if path.name == RECORD:
        return path, path.with_name(FUNCTIONS), path.with_suffix(".blind")
    return tuple(path.with_suffix(end) for end in (".lines", ".functions", ".blind"))  # type: ignore[return-value]


def _keep_evidence(found: Evidence, path: Path) -> None:
    lines, functions, blind = _beside(path)
    found.lines.write(lines)
    found.functions.write(functions)
    write_text(blind, "".join(f"{test}\n" for test in sorted(found.blind)))


def _read_evidence(path: Path) -> Evidence | None:
    """What is stored; None where it is not there, or damaged."""
    try:
        return _parsed(path, tuple(f.stat().st_mtime_ns for f in _beside(path) if f.exists()))
    except OSError:
        return None


@functools.lru_cache(2)
def _parsed(path: Path, _written: tuple[int, ...]) -> Evidence | None:
    """The same of files that were written then: a gate asks several times, a quarter of a second
    each.
    """
    lines, functions, blind = _beside(path)
    try:
        names = blind.read_text().splitlines() if path.name != RECORD else ()
        return Evidence(read_lines(lines), read_functions(functions), frozenset(names))
    except (UserError, OSError, ValueError):
        return None


def _read(path: Path) -> tuple[dict[str, CaseResult], bool]:
    """What is stored, and whether it is of all tests; nothing where it is not there, or damaged."""
    try:
        content = json.loads(path.read_text())
        cases = [CaseResult(**value) for value in content["cases"]]
        return {case.test: case for case in cases}, bool(content["whole"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}, False


def compare(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], whole: bool
) -> tuple[TestChange, ...]:
    """The tests whose result differs, or is bad. `whole`: the run after was not cut short."""
    changes = []
    for name, case in after.items():
        old = before.get(name)
        change: ResultChange | None = None
        if case.failed:
            known = old is not None and old.outcome in ("failed", "xfailed")
            change = ResultChange.STILL_FAILS if known else ResultChange.NEWLY_FAILS
        elif case.outcome == "xfailed":
            change = ResultChange.STILL_FAILS
        elif case.outcome == "passed" and old is not None and old.outcome in ("failed", "xfailed"):
            change = ResultChange.NEWLY_PASSES
        elif old is None:
            change = ResultChange.NEW
        if change is not None:
            changes.append(TestChange(case, change))
    if whole:
        lost = [name for name in before if name not in after or _skipped_now(before, after, name)]
        changes += [TestChange(before[name], ResultChange.GONE) for name in lost]
    return tuple(changes)


def _skipped_now(
    before: Mapping[str, CaseResult], after: Mapping[str, CaseResult], name: str
) -> bool:
    return after[name].outcome == "skipped" and before[name].outcome != "skipped"
