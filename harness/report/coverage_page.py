# SPDX-License-Identifier: MIT
"""A record of coverage as one page: what no test executes, by file and function, with bars."""

from __future__ import annotations

from markupsafe import Markup

from harness.coverage import summary
from harness.coverage.lines import packed
from harness.coverage.record import CoverageRecord
from harness.coverage.summary import FileSummary
from harness.report import page
from harness.report.element import element

_WIDTH, _HEIGHT = 120, 10


def render(record: CoverageRecord, only: str | None = None) -> str:
    """The page, for all files or `only` one."""
    files = summary.of(record, only)
    return page.render(
        "coverage.html.j2",
        kernel=record.kernel,
        tests=len(record.tests),
        files=[(item, f"file-{number}", _of_file(item)) for number, item in enumerate(files)],
        bar=_bar,
        ranges=_ranges,
    )


def _of_file(item: FileSummary) -> Markup:
    boot = sum(len(function.boot_only) for function in item.functions)
    return _bar(item.tested, boot, item.code)


def _bar(tested: int, boot: int, code: int) -> Markup:
    """Lines by tests, by the boot only and by nothing, as parts of one length."""
    ends = [0.0, *(_WIDTH * n / max(code, 1) for n in (tested, tested + boot, code))]
    parts = [
        element(
            "rect", class_=look, x=f"{start:.1f}", y=0, width=f"{end - start:.1f}", height=_HEIGHT
        )
        for look, start, end in zip(
            ("by-tests", "by-boot", "by-none"), ends, ends[1:], strict=False
        )
        if end > start
    ]
    none = code - tested - boot
    said = f"{tested} of {code} lines by tests, {boot} by the boot only, {none} by nothing"
    return element(
        "svg",
        element("title", said),
        *parts,
        class_="bar",
        role="img",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
    )


def _ranges(lines: tuple[int, ...]) -> str:
    return packed({"": frozenset(lines)}).get("", "").replace(",", ", ")
