# SPDX-License-Identifier: MIT
"""Tests of the system under test that cannot run on it: why, how many, and ``--qemu-strict``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.host.project import ROOT
from harness.imageset.features import NEEDS, Feature
from harness.imageset.model import ImageSet
from harness.imageset.zimage import kernel_facts
from harness.pytest_plugin.session import session_of

OWN = ROOT / "tests" / "qemu"
"""Tests of this harness: a skip there says nothing about the system under test."""
ATTRIBUTE = "skipped_on_system"
"""Of a report: why a test of the system under test was skipped, or would have been."""
_LACKS = re.compile(r"; (?=needs )")
"""Between what one test lacks, see `reason`."""


def reason(images: ImageSet, missing: Collection[Feature]) -> str:
    """What is missing, in which part of the image set it was looked for, and what to do."""
    return "; ".join(
        f"needs {NEEDS[feature].wanted}: not in {_place(images, NEEDS[feature].part)}"
        for feature in sorted(missing)
    )


def _place(images: ImageSet, part: str) -> str:
    """A part of the image set, as a user knows it."""
    if part == "initrd":
        return f"the root image {images.disk or images.initrd}"
    if part == "dtb":
        return f"the device tree {images.dtb}"
    path = getattr(images, part)
    if part == "kernel" and _is_closed(path):
        return f"what can be told of the kernel {path}, which nothing here unpacks (lz4, lzop?)"
    name = {"app": "application"}.get(part, part)
    return f"the {name} {path}" if path else f"the {name}, of which no file was given"


def _is_closed(kernel: Path) -> bool:
    try:
        return not kernel_facts(kernel).known
    except UserError:
        return False  # gone since the run began


def note(item: pytest.Item, report: pytest.TestReport) -> None:
    """Marks the report of a test of the system that was skipped; with ``--qemu-strict`` it fails.

    An expected failure is no skip.
    """
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    fixtures = getattr(item, "fixturenames", ())
    if "qemu_session" not in fixtures or item.path.is_relative_to(OWN):
        return
    if not item.config.getoption("--qemu"):
        return
    why = report.longrepr[2].removeprefix("Skipped: ")
    setattr(report, ATTRIBUTE, why)
    if session_of(item.config).settings.strict:
        report.outcome = "failed"
        report.longrepr = f"skipped, which --qemu-strict does not allow: {why}"


def summary(terminal: pytest.TerminalReporter) -> None:
    """Says loudly how many tests of the system did not run, and why."""
    reports = [report for found in terminal.stats.values() for report in found]
    whys = [why for report in reports if (why := getattr(report, ATTRIBUTE, None))]
    if not whys:
        return
    called = (report for report in reports if getattr(report, "when", "") == "call")
    ran = {report.nodeid for report in called if not hasattr(report, ATTRIBUTE)}
    terminal.section(f"{len(whys)} tests of the system did NOT run, {len(ran)} did", yellow=True)
    lacks = Counter(lack for why in whys for lack in _LACKS.split(why))
    for lack, number in lacks.most_common():
        terminal.line(f"{number:4}  {lack}")
    if lacks.total() > len(whys):
        terminal.line("      (a test that lacks several of these is counted for each)")
