# SPDX-License-Identifier: MIT
"""What the pages show is what their commands print: each console block is run, from the wheel."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Example

from harness.builders.cache import Cache
from harness.builders.kernel_source import DEFAULT, resolve
from harness.host.project import ROOT
from tests.qemu.docs import console
from tests.qemu.installed import Installed

PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if any(isinstance(example.parsed, str) for example in console.parse(page).examples())
]


def labels(picture: Path) -> list[str]:
    """The names in a run's picture, from its top."""
    return re.findall(r'<text class="name"[^>]*>([^<]*)<', picture.read_text())


@pytest.fixture
def work() -> Iterator[Path]:
    """An empty directory in no checkout, as a reader's is."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@pytest.mark.timeout(2 * console.SECONDS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_console_block_prints_what_is_shown(
    page: Path, wheel_environment: Path, work: Path
) -> None:
    """The blocks of a page are run in their order, in one directory that is empty at first."""
    if resolve(None, Cache()).version != DEFAULT:
        pytest.skip(f"the pages show what Linux {DEFAULT} does, which apt does not have here")
    terminal = console.Console(work, Installed(wheel_environment, work).variables())
    ran = 0

    def evaluate(example: Example) -> None:
        nonlocal ran
        ran += 1
        console.check(terminal, example)

    document = console.parse(page)
    document.namespace["evaluate"] = evaluate
    skipped = []
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest as why:
            skipped.append(f"{page.name}:{example.line}: {why}")
    if (work / "artifacts" / "run" / "boot.svg").is_file():
        for picture in (ROOT / "docs" / "pictures").glob("*.svg"):
            assert labels(work / "artifacts" / "run" / picture.name) == labels(picture)
    if not ran:
        pytest.skip("; ".join(skipped))
