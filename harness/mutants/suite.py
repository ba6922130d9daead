# SPDX-License-Identifier: MIT
"""Runs the test suite on an image set, in a process of its own, and reads what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from harness.build.process import kill_group
from harness.build.tools import ROOT
from harness.errors import HarnessError, Verdict
from harness.images import ImageSet

SYSTEM = ("tests/qemu/cma", "tests/qemu/test_main_job.py")
"""The tests of the system; the others below ``tests/qemu`` are the harness's own."""
PASSED, FAILED, NOTHING = 0, 1, 5
"""pytest's exit statuses that say something about the system."""
INTERRUPTED = 2
_SYSTEM = {Verdict.PRODUCT.value, Verdict.CRASH.value, Verdict.TIMEOUT.value}
_LOST_WORKER = "crashed while running"


def stopped_early(log: str) -> bool:
    """Whether pytest ended at ``--maxfail``: with xdist that has the status of an interruption."""
    return "xdist.dsession.Interrupted: stopping after" in log[-2000:]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A test that did not pass."""

    test: str
    verdict: str
    """``product``, ``crash``, ``timeout`` or ``infrastructure``."""
    message: str

    @property
    def node(self) -> str:
        """As pytest takes it on its command line: ``tests/qemu/test_x.py::TestY::test_z[p]``."""
        words, _, name = self.test.partition("::")
        parts = words.split(".")
        for end in range(len(parts), 0, -1):
            file = "/".join(parts[:end]) + ".py"
            if (ROOT / file).is_file():
                return "::".join([file, *parts[end:], name])
        return self.test


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run."""

    status: int
    """pytest's exit status; negative: the signal that ended it."""
    tests: int
    """How many ran, skipped ones not counted."""
    failures: tuple[Failure, ...]
    seconds: float
    log: Path

    @property
    def caught(self) -> Failure | None:
        """The first test that failed through the system's fault; None if none did."""
        if self.status != FAILED:
            return None
        return next((f for f in self.failures if f.verdict in _SYSTEM), None)

    @property
    def passed(self) -> bool:
        """All tests passed, and there were some."""
        return self.status == PASSED and self.tests > 0 and not self.failures

    @property
    def infrastructure(self) -> bool:
        """Nothing is known of the system: no test failed by its fault, and they did not pass."""
        return self.caught is None and self.status not in (PASSED, NOTHING)


def read_junit(path: Path) -> tuple[int, tuple[Failure, ...]]:
    """How many tests ran, and which failed. Raises `HarnessError` for what is no JUnit file."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise HarnessError(f"pytest left no results in {path}: {error}") from error
    ran, failures = 0, []
    for case in root.iter("testcase"):
        if case.find("skipped") is not None:
            continue
        ran += 1
        failure = case.find("failure")
        found = failure if failure is not None else case.find("error")
        if found is None:
            continue
        said = found.get("message", "")
        verdicts = [
            str(p.get("value")) for p in case.iter("property") if p.get("name") == "verdict"
        ]
        failures.append(
            Failure(
                f"{case.get('classname')}::{case.get('name')}",
                _verdict(failure is not None, verdicts, f"{said}\n{found.text}"),
                said,
            )
        )
    return ran, tuple(failures)


def _verdict(failed: bool, verdicts: Sequence[str], text: str) -> str:
    if verdicts:
        return verdicts[0]
    # A test without a guest: an assertion of its own is the product's fault, an error on the way
    # to the test (or in collecting it, or of a worker) is not.
    if failed and _LOST_WORKER not in text:
        return Verdict.PRODUCT.value
    return Verdict.INFRASTRUCTURE.value


class Suite:
    """Runs of pytest whose machines freeze into a place of their own."""

    def __init__(self, cache_root: Path, private: Path, workers: str | None = None) -> None:
        """`private` is a directory for the templates of these runs; `workers` is xdist's ``-n``."""
        self._private = private
        self._workers = workers
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)
        # A cache in which all is the cache's, but the templates: they are many and used once.
        for path in cache_root.iterdir():
            if path.name != "templates":
                (private / path.name).symlink_to(path)

    def run(
        self,
        images: ImageSet,
        to: Path,
        expression: str = "",
        targets: Sequence[str] = SYSTEM,
        stop_after: int = 1,
        timeout: float = 1800,
    ) -> Outcome:
        """Runs the tests that `expression` (``-k``) selects; logs and results go to `to`."""
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        images.write(to / "images.json")
        log, junit = to / "pytest.log", to / "junit.xml"
        argv = [sys.executable, "-m", "pytest", "--qemu", "-p", "no:cacheprovider", "--color=no"]
        argv += ["--qemu-image-set", str(to / "images.json"), "--qemu-artifacts", str(to / "tests")]
        argv += [f"--junitxml={junit}", f"--maxfail={stop_after}", "-q"]
        argv += ["-n", self._workers] if self._workers else []
        argv += ["-k", expression] if expression else []
        begun = time.monotonic()
        status = self._run([*argv, *targets], log, to / "tmp", timeout)
        if status == INTERRUPTED and stopped_early(log.read_text(errors="replace")):
            status = FAILED
        shutil.rmtree(self._private / "templates", ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.rmtree(to / "tmp")
        ran, failures = 0, tuple[Failure, ...]()
        if status in (PASSED, FAILED):
            try:
                ran, failures = read_junit(junit)
            except HarnessError as error:
                # pytest-timeout ends pytest like this.
                failures = (Failure("", Verdict.INFRASTRUCTURE.value, str(error)),)
        return Outcome(status, ran, failures, time.monotonic() - begun, log)

    def _run(self, argv: Sequence[str], log: Path, tmp: Path, timeout: float) -> int:
        tmp.mkdir()
        environment = {
            **os.environ,
            "HARNESS_CACHE": str(self._private),
            "PYTEST_DEBUG_TEMPROOT": str(tmp),
            "PYTHONPATH": str(ROOT),
        }
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*prefix, *argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,
            )
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                output.write(f"\nended after {timeout:.0f} s\n".encode())
                return -1
            finally:
                kill_group(process)
