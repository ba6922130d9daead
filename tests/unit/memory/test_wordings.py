# SPDX-License-Identifier: MIT
"""Every message that kernels can print of CMA is in one of the tables, or said to be unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builders.imageset import VERSIONS
from harness.memory import wordings
from harness.memory.dmesg import parse_dmesg
from tests.unit.sources import kernel_tree

SOURCES = ("mm/cma.c", "kernel/dma/contiguous.c", "drivers/of/of_reserved_mem.c")
PREFIX = re.compile(r'#define pr_fmt\(fmt\)\s+(?:"([^"]*)"\s*)?fmt')
MESSAGE = re.compile(
    r"\bpr_(?:emerg|alert|crit|err|warn|notice|info)(?:_once|_ratelimited)?\s*\(\s*"
    r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
)
VALUES = (
    (r"%(?:pa|p\b|#\w*x)", "0x69800000"),
    (r"0x%\w*x", "0x69800000"),
    (r"%l?x", "69800"),
    (r"%l*[diu]", "8"),
)
CHOICES = {
    "%s: %s: ": "__func__: BiscuitOS_cma: ",
    "%s: ": "dma_numa_cma_reserve: ",
    "range%s": "ranges",
    "KiB) %s %s %s": "KiB) map reusable BiscuitOS_cma",
    "%s()": "rmem_cma_setup()",
    "%s": "BiscuitOS_cma",
}
"""What stands for a string, by where it is."""


def messages(source: Path) -> Iterator[str]:
    """The lines that a file of the kernel's can print, with values in the places of formats."""
    prefix = ""
    text = source.read_text()
    found = [*PREFIX.finditer(text), *MESSAGE.finditer(text)]
    for match in sorted(found, key=lambda match: match.start()):
        if match.re is PREFIX:
            prefix = match[1] or ""
            continue
        line = prefix + "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', match[1]))
        for pattern, value in VALUES:
            line = re.sub(pattern, value, line)
        for format_, value in CHOICES.items():
            line = line.replace(format_, value)
        yield from (part for part in line.replace('\\"', '"').split("\\n") if part)


def is_known(line: str) -> bool:
    lines = (wordings.POOL, wordings.NAMED, wordings.MAPPED, wordings.DEFAULT, wordings.RANGES)
    overlaps = (wordings.OVERLAP, wordings.OVERLAPPING)
    tables = (wording.pattern for wording in (*wordings.FAILURES, *wordings.HARMLESS))
    return any(pattern.fullmatch(line) for pattern in (*lines, *overlaps, *tables))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_the_sources_can_say_is_known(version: str, source: str) -> None:
    said = list(messages(kernel_tree(version) / source))
    assert len(said) >= 5, "it finds the messages"
    assert [line for line in said if not is_known(line)] == []


@pytest.mark.parametrize(
    "line",
    [
        "cma: CMA area BiscuitOS_cma now lives at 0x69800000",
        "cma: Reserved 8 MiB somewhere",
        "OF: reserved mem: 0x69800000 BiscuitOS_cma handed over",
        "Reserved memory: pool BiscuitOS_cma postponed",
        "numa: 8 MiB CMA memory moved to node 1",
    ],
)
def test_new_words_are_said_to_be_unknown_and_silence_is_not_believed(line: str) -> None:
    log = parse_dmesg(
        "[    0.000000] Booting Linux on physical CPU 0x0\n"
        "[    0.000000] Linux version 7.9.1 (harness@harness)\n"
        f"[    0.000000] {line}\n"
    )
    assert any("unknown words on CMA" in gap for gap in log.gaps) or log.damaged
    assert log.reading().coverage.name == "SOME"
