# SPDX-License-Identifier: MIT
"""Runs the test suite on an image set, in a process of its own, and reads what came of it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.builders.cache import COMPILED, cache_root
from harness.errors import HarnessError, UserError
from harness.host.process import kill_group
from harness.host.project import PYTHON_PATH, ROOT
from harness.imageset.model import ImageSet
from harness.testrun.junit import read_cases, transcript_of
from harness.testrun.result import (
    FAILED,
    INTERRUPTED,
    USAGE,
    CaseResult,
    SuiteResult,
    stop_file,
)

SYSTEM = ("tests/cma",)
"""The tests of the system; those below ``tests/qemu`` are the harness's own."""
LAST_WORDS = 30.0
"""Seconds for a run whose time is over to end its guests and to write its results."""
LIVE = "results.jsonl"
"""Where it writes them one by one."""
Enough = Callable[[CaseResult], bool]
"""Takes each test's result when it is there; whether enough is known then."""
_LOOK = 0.1
"""Seconds between two looks at these."""
_STOPPED = re.compile(r"(?:^!+ |xdist\.dsession\.Interrupted: )stopping after ", re.MULTILINE)
_REFUSED = re.compile(
    r"^ERROR: (?:--qemu-select \S+: )?(.+ names no test.*|(?:file or directory )?not found: .+)",
    re.MULTILINE,
)
JUNIT = "junit.xml"
"""Where pytest leaves its results, in the directory of a run."""


def stopped_early(log: str) -> bool:
    """Whether pytest ended before all tests had their turn, since enough is known: at
    ``--maxfail``, or where it was told so. With xdist that has the status of an interruption.
    """
    return _STOPPED.search(log[-2000:]) is not None


def pytest_command(to: Path) -> list[str]:
    """A run of pytest with QEMU that leaves its results in `to`: the first words of it."""
    argv = [sys.executable, "-m", "pytest", "--qemu", "-p", "no:cacheprovider", "--color=no", "-q"]
    # Its plugin imports all of Hypothesis in each process; who needs that imports it.
    argv += ["-p", "no:hypothesispytest"]
    return [*argv, f"--junitxml={to / JUNIT}", "--qemu-artifacts", str(to / "tests")]


def keeping_compiled() -> dict[str, str]:
    """The environment in which Python keeps compiled modules, and not in our sources. Where it
    keeps none, as in many containers, each process takes a second more to start.
    """
    prefix = sys.pycache_prefix or str(cache_root() / COMPILED)
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": prefix}


def start(
    argv: Sequence[str], log: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts one of the project's programs in a process group of its own; it is ended with us.

    `environment` is added to ours. End it with `harness.host.process.kill_group`.
    """
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    python = {**keeping_compiled(), "PYTHONPATH": str(PYTHON_PATH)}
    return subprocess.Popen(
        [*prefix, *argv],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **python, **(environment or {})},
        process_group=0,
    )


def coverage_of(to: Path) -> Path:
    """Where the record of executed lines of a run in `to` is, if one was made."""
    return to / "tests" / "coverage" / "coverage.json"


class Suite:
    """Runs of pytest whose machines freeze into a place of their own."""

    def __init__(
        self,
        cache_root: Path,
        private: Path,
        workers: str | None = None,
        traced: Sequence[str] = (),
        on_case: Callable[[CaseResult], None] | None = None,
        frozen_in_cache: bool = False,
    ) -> None:
        """`private` is a directory for the templates of these runs, but where the system is one
        that comes again: then they are those of the cache (`frozen_in_cache`). `workers` is
        xdist's ``-n``; `traced` are the kernel's files of which executed lines are noted
        (`coverage_of`); `on_case` is called with each test's result when it is there.
        """
        self._on_case = on_case
        self._traced = traced
        self._private = private
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._keeps = frozen_in_cache
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)
        # A cache in which all is the cache's, but templates that are many and used once.
        for path in cache_root.iterdir():
            if frozen_in_cache or path.name != "templates":
                (private / path.name).symlink_to(path)

    def tracing(self, files: Sequence[str]) -> Suite:
        """The same, with other files of which executed lines are noted."""
        other = copy.copy(self)
        other._traced = files
        return other

    @contextlib.contextmanager
    def together(self) -> Iterator[Callable[[], Suite]]:
        """For runs on one system, of which each takes the machines that one before has frozen:
        gives a suite for each of those that are to be at once.
        """

        def another() -> Suite:
            other = copy.copy(self)
            other._keeps = True
            return other

        try:
            yield another
        finally:
            self._forget()

    def _forget(self) -> None:
        shutil.rmtree(self._private / "templates", ignore_errors=True)

    def run(
        self,
        images: ImageSet,
        to: Path,
        expression: str = "",
        targets: Sequence[str] = SYSTEM,
        stop_after: int = 1,
        timeout: float = 1800,
        select: Path | None = None,
        enough: Enough | None = None,
    ) -> SuiteResult:
        """Runs the tests that `expression` (``-k``) and the file `select` choose; logs and results
        go to `to`. `enough` is asked with each result whether the others may be left out. Raises
        `UserError` for tests that there are not.
        """
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        images.write(to / "images.json")
        log = to / "pytest.log"
        argv = pytest_command(to)
        argv += ["--qemu-image-set", str(to / "images.json"), f"--maxfail={stop_after}"]
        # One test needs no worker, which takes a second to start. Of more each worker gets one at a
        # time, so that they begin in the order that was chosen.
        alone = len(targets) == 1 and "::" in targets[0]
        if self._workers and not alone:
            argv += ["-n", self._workers, "--maxschedchunk=1"]
        argv += ["--qemu-results", str(to / LIVE)] if self._on_case or enough else []
        argv += ["-k", expression] if expression else []
        argv += ["--qemu-select", str(select)] if select else []
        if self._traced:
            argv += ["--qemu-coverage", "--qemu-coverage-files", " ".join(self._traced)]
        begun = time.monotonic()
        status = self._run([*argv, *targets], log, to / "tmp", timeout, enough)
        cut = stopped_early(log.read_text(errors="replace"))
        if status == INTERRUPTED and cut:
            status = FAILED
        if not self._keeps:
            self._forget()
        with contextlib.suppress(OSError):
            shutil.rmtree(to / "tmp")
        if status == USAGE and (refused := _REFUSED.search(log.read_text(errors="replace"))):
            raise UserError(f"the tests to run: {refused[1]}")
        cases: Sequence[CaseResult] = ()
        with contextlib.suppress(HarnessError):  # its status says so, and the log why
            cases = read_cases(to / JUNIT)
        kept = tuple(
            dataclasses.replace(case, artifact=transcript_of(case.test, to / "tests"))
            if case.failed
            else case
            for case in cases
        )
        return SuiteResult(status, kept, time.monotonic() - begun, log, cut)

    def end(self) -> None:
        """Ends the run that is under way in another thread, if there is one."""
        if (process := self._process) is not None:
            kill_group(process)

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        results: Path,
        timeout: float,
        enough: Enough | None = None,
    ) -> int:
        """Waits for the run, and tells of results meanwhile. Raises `subprocess.TimeoutExpired`."""
        if self._on_case is None and enough is None:
            return process.wait(timeout)
        read = 0
        end = time.monotonic() + timeout
        while True:
            try:
                status: int | None = process.wait(min(_LOOK, max(end - time.monotonic(), 0)))
            except subprocess.TimeoutExpired:
                status = None
            text = results.read_bytes()[read:] if results.is_file() else b""
            rows = text.splitlines(keepends=True)
            for row in rows:
                if row.endswith(b"\n"):
                    read += len(row)
                    case = CaseResult(**json.loads(row))
                    if self._on_case is not None:
                        self._on_case(case)
                    if enough is not None and enough(case):
                        stop_file(results).touch()
            if status is not None:
                return status
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired(process.args, timeout)

    def _run(
        self,
        argv: Sequence[str],
        log: Path,
        tmp: Path,
        timeout: float,
        enough: Enough | None,
    ) -> int:
        tmp.mkdir()
        environment = {
            "HARNESS_CACHE": str(self._private),
            "PYTEST_DEBUG_TEMPROOT": str(tmp),
        }
        with log.open("wb") as output:
            self._process = process = start(argv, output, environment)
            try:
                return self._wait(process, tmp.with_name(LIVE), timeout, enough)
            except subprocess.TimeoutExpired:
                output.write(f"\nended after {timeout:.0f} s\n".encode())
                # Gently: what it knows so far is written down then.
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LAST_WORDS)
                return -1
            finally:
                kill_group(process)
                self._process = None
