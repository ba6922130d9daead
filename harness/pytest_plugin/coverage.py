# SPDX-License-Identifier: MIT
"""``--qemu-coverage``: which source lines of kernel and driver each test executed.

A test's machines are asked at its end, before they are closed. Each process of the run appends to a
file of its own; the one that started them puts the files together at its end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.coverage import formats
from harness.coverage.functions import FUNCTIONS, FunctionMap
from harness.coverage.lines import Lines, packed, union, unpacked
from harness.coverage.record import RECORD, CoverageRecord
from harness.errors import HarnessError
from harness.guest.executed import Executed, code_lines, executed, executed_at_boot
from harness.host.files import write_text
from harness.host.output import own
from harness.imageset.linetable import SourceFunction
from harness.imageset.model import ImageSet
from harness.machine.machine import Machine
from harness.pytest_plugin.boots import BOOTS
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
        self._release = ""
        self._boots: set[str] = set()
        self._known: set[str] = set()
        self._ended: list[tuple[Executed, str]] = []

    @property
    def _part(self) -> Path:
        return self.directory / PART.replace("*", str(os.getpid()))

    def begin(self) -> None:
        """Forgets the run before: for the process that starts the others."""
        for path in self.directory.glob(PART):
            path.unlink()

    def ended(self, machine: Machine) -> None:
        """Takes a machine that ends, which the test may have started by itself."""
        if machine.nonce in self._known or machine.storage.shared:
            return  # it was asked already, or it is a template
        self._ended.append((executed(machine), self._before(machine)))
        self._release = machine.config.images.release

    def _before(self, machine: Machine) -> str:
        """Notes the code that there is, and what a clone's boot executed; the boot's name."""
        self._known.add(machine.nonce)
        self._note_code(machine.config.images)
        return self._note_boot(machine) if machine.boot_trace else ""

    def collect(self, item: pytest.Item, machines: Sequence[Machine]) -> None:
        """Notes what `machines` of a test executed, and those that have ended in it."""
        found, self._ended = self._ended, []
        for machine in machines:
            if machine.config.trace:
                found.append((executed(machine), self._before(machine)))
                self._release = machine.config.images.release
        if found:
            before = sorted({boot for _, boot in found if boot})
            what = {"test": name_of(item), "after": before}
            self._note(self._release, [part for part, _ in found], what)

    def _note_boot(self, machine: Machine) -> str:
        """Notes what a template executed, once; its name."""
        assert machine.boot_trace is not None
        key = machine.boot_trace.parent.name
        if key not in self._boots:
            found = executed_at_boot(machine)
            self._boots.add(key)
            kernel = machine.config.images.release
            self._note(kernel, [found], {"boot": key, "driver": found.driver})
        return key

    def _note(self, kernel: str, found: list[Executed], what: Mapping[str, object]) -> None:
        lines = packed(union(*(part.lines for part in found)))
        functions = sorted(frozenset().union(*(part.functions for part in found)))
        self._write({"kernel": kernel, **what, "lines": lines, "executed": functions})

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
            of_others = f"-{kernel}" if written else ""
            stem = RECORD.removesuffix(".json") + of_others
            record.write(self.directory / f"{stem}.json")
            write_text(self.directory / f"{stem}.info", formats.lcov(record))
            write_text(self.directory / f"{stem}.xml", formats.cobertura(record))
            written.append(self.directory / f"{stem}.json")
            functions = _functions([row for row in rows if row["kernel"] == kernel])
            if functions.boot or any(functions.tests.values()):
                name = FUNCTIONS.replace(".", f"{of_others}.")
                functions.write(self.directory / name)
        return written


class _Boots:
    """The templates of a run. What one executed after its boot, with the driver, belongs to the
    tests that have clones of it.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        templates = [row for row in rows if "boot" in row]
        plain = [row for row in templates if not row["driver"]]
        self.lines = union(*(unpacked(row["lines"]) for row in plain))
        self.functions = frozenset().union(*(row["executed"] for row in plain))
        self._prepared = {row["boot"]: row for row in templates if row["driver"]}

    def lines_of(self, row: dict[str, Any]) -> Lines:
        """The lines that a test executed."""
        more = union(*(unpacked(one["lines"]) for one in self._of(row)))
        none = frozenset[int]()
        more = {file: lines - self.lines.get(file, none) for file, lines in more.items()}
        return union(unpacked(row["lines"]), more)

    def functions_of(self, row: dict[str, Any]) -> frozenset[str]:
        """The functions that a test executed."""
        more = frozenset().union(*(one["executed"] for one in self._of(row)))
        return frozenset(row["executed"]) | (more - self.functions)

    def _of(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._prepared[key] for key in row["after"] if key in self._prepared]


def _record(kernel: str, rows: list[dict[str, Any]]) -> CoverageRecord:
    boots = _Boots(rows)
    tests: dict[str, Lines] = {}
    for row in rows:
        if "test" in row:
            tests[row["test"]] = union(tests.get(row["test"], {}), boots.lines_of(row))
    functions = {SourceFunction(*words) for row in rows for words in row.get("functions", ())}
    code = union(*(unpacked(row["code"]) for row in rows if "code" in row))
    return CoverageRecord(code, tuple(sorted(functions)), boots.lines, tests, kernel)


def _functions(rows: list[dict[str, Any]]) -> FunctionMap:
    boots = _Boots(rows)
    tests: dict[str, frozenset[str]] = {}
    for row in rows:
        if "test" in row:
            known = tests.get(row["test"], frozenset())
            tests[row["test"]] = known | boots.functions_of(row)
    return FunctionMap(boots.functions, tests)


class Plugin:
    """The hooks of a run with coverage."""

    def __init__(self, session: Session) -> None:
        self._collector = Collector(session)
        Machine.ending[:] = [self._collector.ended]

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Forgets the run before."""
        if not hasattr(session.config, "workerinput"):
            self._collector.begin()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Asks the test's machines before they are closed, and those that its fixtures close."""
        machines = item.stash[BOOTS].machines if BOOTS in item.stash else []
        self._collect(item, machines)
        try:
            return (yield)
        finally:
            self._collect(item, [])

    def _collect(self, item: pytest.Item, machines: Sequence[Machine]) -> None:
        try:
            self._collector.collect(item, machines)
        except HarnessError as error:
            item.add_report_section("teardown", "coverage", str(error))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Puts all together, and says where it is."""
        for path in self._collector.finish():
            terminalreporter.write_line(f"coverage: {path} (harness coverage {path} tells it)")
