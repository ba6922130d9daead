# SPDX-License-Identifier: MIT
"""``--qemu-coverage``: which source lines of kernel and driver each test executed.

A test's machines are asked at its end, before they are closed. Each process of the run appends to a
file of its own; the one that started them puts the files together at its end.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.coverage import formats
from harness.coverage.lines import Lines, packed, union, unpacked
from harness.coverage.record import RECORD, CoverageRecord
from harness.errors import HarnessError
from harness.guest.executed import code_lines, executed_lines
from harness.host.files import write_text
from harness.host.output import own
from harness.imageset.linetable import SourceFunction
from harness.imageset.model import ImageSet
from harness.pytest_plugin.boots import BOOTS, Boots
from harness.pytest_plugin.selection import name_of
from harness.pytest_plugin.session import Session

DIRECTORY = "coverage"
"""Where records and pages go, below ``--qemu-artifacts``."""
PART = "part-*.jsonl"


class Collector:
    """What one process of the run has seen."""

    def __init__(self, session: Session) -> None:
        self._files = session.settings.coverage_files
        self.directory = own(session.settings.artifacts / DIRECTORY)
        self._kernels: set[Path] = set()
        self._boots: set[tuple[str, int]] = set()

    @property
    def _part(self) -> Path:
        return self.directory / PART.replace("*", str(os.getpid()))

    def begin(self) -> None:
        """Forgets the run before: for the process that starts the others."""
        for path in self.directory.glob(PART):
            path.unlink()

    def collect(self, item: pytest.Item, boots: Boots) -> None:
        """Notes what the machines of a test executed."""
        executed: list[Lines] = []
        for machine in boots.machines:
            if not machine.config.trace:
                continue
            images = machine.config.images
            self._note_code(images)
            boot, since = executed_lines(machine)
            key = (images.release, hash(machine.boot_trace))
            if boot and key not in self._boots:
                self._boots.add(key)
                self._write({"kernel": images.release, "boot": packed(boot)})
            executed.append(since)
        if executed:
            lines = packed(union(*executed))
            kernel = boots.machines[0].config.images.release
            self._write({"kernel": kernel, "test": name_of(item), "lines": lines})

    def _note_code(self, images: ImageSet) -> None:
        if images.vmlinux is None or images.vmlinux in self._kernels:
            return
        self._kernels.add(images.vmlinux)
        lines, functions = code_lines(images, self._files)
        self._write(
            {
                "kernel": images.release,
                "code": packed(lines),
                "functions": [[f.file, f.line, f.name] for f in functions],
            }
        )

    def _write(self, content: dict[str, Any]) -> None:
        with self._part.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def finish(self) -> list[Path]:
        """Writes the records of the whole run, one for each kernel; the paths."""
        rows = []
        for path in sorted(self.directory.glob(PART)):
            rows += [json.loads(line) for line in path.read_text().splitlines()]
        written: list[Path] = []
        for kernel in dict.fromkeys(row["kernel"] for row in rows):
            record = _record(kernel, [row for row in rows if row["kernel"] == kernel])
            stem = RECORD.removesuffix(".json") + (f"-{kernel}" if written else "")
            record.write(self.directory / f"{stem}.json")
            write_text(self.directory / f"{stem}.info", formats.lcov(record))
            write_text(self.directory / f"{stem}.xml", formats.cobertura(record))
            written.append(self.directory / f"{stem}.json")
        return written


def _record(kernel: str, rows: list[dict[str, Any]]) -> CoverageRecord:
    tests: dict[str, Lines] = {}
    for row in rows:
        if "test" in row:
            lines = unpacked(row["lines"])
            tests[row["test"]] = union(tests.get(row["test"], {}), lines)
    functions = {SourceFunction(*words) for row in rows for words in row.get("functions", ())}
    return CoverageRecord(
        union(*(unpacked(row["code"]) for row in rows if "code" in row)),
        tuple(sorted(functions)),
        union(*(unpacked(row["boot"]) for row in rows if "boot" in row)),
        tests,
        kernel,
    )


class Plugin:
    """The hooks of a run with coverage."""

    def __init__(self, session: Session) -> None:
        self._collector = Collector(session)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Forgets the run before."""
        if not hasattr(session.config, "workerinput"):
            self._collector.begin()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Asks the test's machines before they are closed."""
        if BOOTS in item.stash:
            try:
                self._collector.collect(item, item.stash[BOOTS])
            except HarnessError as error:
                item.add_report_section("teardown", "coverage", str(error))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Puts all together, and says where it is."""
        for path in self._collector.finish():
            terminalreporter.write_line(f"coverage: {path} (harness coverage {path} tells it)")
