# SPDX-License-Identifier: MIT
"""The record in formats of others: LCOV's tracefile and Cobertura's XML.

Formats: geninfo(1), "TRACEFILE FORMAT"; Cobertura's ``coverage-04.dtd``. Both count executions;
here a line's count is the number of tests that executed it, and one more for the boot.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

from harness.coverage.lines import Lines
from harness.coverage.record import CoverageRecord

BOOT = "boot"
"""The boot's name among the tests."""


def lcov(record: CoverageRecord) -> str:
    """A tracefile with a section for each test and file, the boot first.

    A test's name has letters, digits and ``_`` only: LCOV takes no others.
    """
    out: list[str] = []
    for name, lines in _named(record).items():
        for file, code in record.code.items():
            done = lines.get(file, frozenset())
            if not done & code:
                continue
            out += [f"TN:{re.sub(r'[^A-Za-z0-9_]', '_', name)}", f"SF:{file}"]
            functions = [f for f in record.functions if f.file == file]
            out += [f"FN:{f.line},{f.name}" for f in functions]
            hit = {record.function_of(file, line) for line in done & code}
            out += [f"FNDA:{int(f.name in hit)},{f.name}" for f in functions]
            out += [f"FNF:{len(functions)}", f"FNH:{len(hit - {''})}"]
            out += [f"DA:{line},{int(line in done)}" for line in sorted(code)]
            out += [f"LF:{len(code)}", f"LH:{len(done & code)}", "end_of_record"]
    return "\n".join(out) + "\n"


def cobertura(record: CoverageRecord, timestamp: int = 0) -> str:
    """The XML document; `timestamp` in seconds since the epoch. diff-cover reads it."""
    named = _named(record)
    total, covered = 0, 0
    packages = ElementTree.Element("packages")
    package = ElementTree.SubElement(packages, "package", name="kernel", complexity="0")
    classes = ElementTree.SubElement(package, "classes")
    for file, code in record.code.items():
        hits = {line: sum(line in part.get(file, ()) for part in named.values()) for line in code}
        done = sum(map(bool, hits.values()))
        total, covered = total + len(code), covered + done
        one = ElementTree.SubElement(
            classes,
            "class",
            {"name": file, "filename": file, "complexity": "0", **_rates(done, len(code))},
        )
        ElementTree.SubElement(one, "methods")
        rows = ElementTree.SubElement(one, "lines")
        for line, count in sorted(hits.items()):
            ElementTree.SubElement(rows, "line", number=str(line), hits=str(count))
    for key, value in _rates(covered, total).items():
        package.set(key, value)
    root = ElementTree.Element(
        "coverage",
        {
            "version": "1",
            "timestamp": str(timestamp),
            "lines-valid": str(total),
            "lines-covered": str(covered),
            "branches-valid": "0",
            "branches-covered": "0",
            "complexity": "0",
            **_rates(covered, total),
        },
    )
    sources = ElementTree.SubElement(root, "sources")
    ElementTree.SubElement(sources, "source").text = "."
    root.append(packages)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0"?>\n{text}\n'


def _named(record: CoverageRecord) -> Mapping[str, Lines]:
    return {BOOT: record.boot, **dict(sorted(record.tests.items()))}


def _rates(done: int, of: int) -> dict[str, str]:
    return {"line-rate": f"{done / of if of else 1:.4f}", "branch-rate": "0"}
