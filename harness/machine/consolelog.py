# SPDX-License-Identifier: MIT
"""Judges a saved kernel log: what trouble it holds, which CMA areas, and whether it is whole.

It may be in any of the forms that `harness.machine.logforms` knows.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from harness.machine.kernelwords import CrashKind
from harness.machine.logforms import kernel_lines, log_lines
from harness.machine.logreader import Head, LogReader
from harness.memory.dmesg import KernelLog, parse_dmesg
from harness.memory.model import Coverage

LONGEST = 400
"""Lines of one finding that are kept."""


class Severity(enum.Enum):
    """How bad a finding is."""

    FATAL = "fatal"
    """The machine cannot be used any more after it."""
    TROUBLE = "trouble"
    """The kernel reports a fault of its own, and goes on."""
    NOTE = "note"
    """Worth a look, but no fault of the kernel's."""


@dataclasses.dataclass(frozen=True)
class KernelReport:
    """One report of the kernel's."""

    kinds: tuple[CrashKind, ...]
    """Every kind that it shows, in the order of the log; the first is the cause."""
    head: str
    """The line that began it, without its time stamp."""
    lines: tuple[str, ...]
    """The report from its first line to its last, as the file has them."""
    line: int
    """Number of the first of them; counts from 1."""

    @property
    def kind(self) -> CrashKind:
        """The cause."""
        return self.kinds[0]

    @property
    def severity(self) -> Severity:
        """The worst that it shows."""
        if any(kind.fatal for kind in self.kinds):
            return Severity.FATAL
        if self.kind is CrashKind.PROCESS_FAULT:
            return Severity.NOTE
        return Severity.TROUBLE


@dataclasses.dataclass(frozen=True)
class ConsoleLog:
    """What a saved log says."""

    source: str
    findings: tuple[KernelReport, ...]
    """In the order of the log, notes too."""
    kernel: KernelLog
    """Its CMA areas and failures: of several boots, the last."""
    boots: int
    """How many boots begin in it."""

    @property
    def trouble(self) -> tuple[KernelReport, ...]:
        """The findings that are more than notes."""
        return tuple(item for item in self.findings if item.severity is not Severity.NOTE)

    @property
    def complete(self) -> bool:
        """Whether the log is known to hold all that the last boot said of CMA areas."""
        return self.kernel.reading().coverage is Coverage.CREATED

    @property
    def exit_status(self) -> int:
        """1 where it holds trouble, else 0."""
        return 1 if self.trouble else 0

    def as_dict(self) -> dict[str, object]:
        """The same for JSON. Addresses are strings in hexadecimal, sizes are in MiB."""
        reading = self.kernel.reading()
        return {
            "source": self.source,
            "trouble": bool(self.trouble),
            "findings": [
                {
                    "kind": item.kind.value,
                    "kinds": [kind.value for kind in item.kinds],
                    "severity": item.severity.value,
                    "head": item.head,
                    "line": item.line,
                    "lines": list(item.lines),
                }
                for item in self.findings
            ],
            "boots": self.boots,
            "areas": [
                {
                    "name": pool.name,
                    "base": f"0x{pool.base:08x}",
                    "mib": pool.size.quantity,
                    "line": pool.line,
                }
                for pool in self.kernel.pools
            ],
            "failures": [{"area": f.area, "text": f.text} for f in self.kernel.failures],
            "complete": self.complete,
            "notes": list(reading.notes),
        }

    def describe(self) -> str:
        """The same for a terminal."""
        out = []
        for item in self.findings:
            out.append(f"{self.source} line {item.line}: {item.kind.value} ({item.severity.value})")
            out += [f"    {line}" for line in item.lines]
        for pool in self.kernel.pools:
            name = pool.name or "(name not in the log)"
            out.append(f"CMA area {name} at 0x{pool.base:08x}, {pool.size}")
        out += [f"CMA failure: {failure.text}" for failure in self.kernel.failures]
        out += [f"note: {note}" for note in self.kernel.reading().notes]
        if not self.complete:
            out.append("the log may lack lines on CMA areas: nothing follows from its silence")
        count = len(self.trouble)
        out.append(f"reports of trouble: {count}" if count else "no trouble")
        return "\n".join(out)


def judge_log(text: str | bytes, source: str = "log") -> ConsoleLog:
    """What a saved log holds. Raises `UserError` where there is no text in it."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    lines = log_lines(text, source)
    kernel = kernel_lines(lines)
    reader = LogReader()
    findings = [*_findings(lines, kernel, reader)]
    findings += [
        KernelReport((head.kind,), head.text, (lines[head.start],), head.start + 1)
        for head in reader.process_faults
    ]
    findings.sort(key=lambda item: item.line)
    log = parse_dmesg("\n".join(kernel), source, console=True)
    return ConsoleLog(source, tuple(findings), log, reader.boots)


def _findings(lines: list[str], kernel: list[str], reader: LogReader) -> Iterator[KernelReport]:
    """Heads, those of one report together, each with its lines."""
    heads: list[Head] = []
    last = 0  # the last line that is surely of the report
    for number, line in enumerate(kernel):
        going_on = reader.continues()
        new = reader.feed(line, number)
        if new and heads and new[0].kind not in going_on:
            yield _finding(lines, heads, last)
            heads = []
        heads += new
        if new or reader.of_report:
            last = number
    if heads:
        yield _finding(lines, heads, last)


def _finding(lines: list[str], heads: list[Head], last: int) -> KernelReport:
    start = min(head.start for head in heads)
    end = min(max(last, start), start + LONGEST)
    kinds = tuple(head.kind for head in heads)
    return KernelReport(kinds, heads[0].text, tuple(lines[start : end + 1]), start + 1)
