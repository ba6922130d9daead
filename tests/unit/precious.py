# SPDX-License-Identifier: MIT
"""A directory with files of the user's that have our names, to be given to every option."""

from __future__ import annotations

from pathlib import Path

CONTENT = "precious\n"
NAMES = (
    "notes.txt",
    "transcript.txt",
    "ttyAMA0.log",
    "ttyAMA1.log",
    "qemu.log",
    "results.json",
    "results.ktap",
    "verdict.txt",
    "report.html",
    "coverage/coverage.json",
    "coverage/part-1.jsonl",
    "images/holiday.jpg",
    "cache/x",
    "patches/my.patch",
    "templates/transcript.txt",
    "machines/transcript.txt",
    "examples/x",
    "earlier/old/x",
    "entries/x",
    "nightly.sqlite",
    "test_it.py_test_it/transcript.txt",
)


def fill(place: Path) -> Path:
    """Makes it at `place`."""
    for name in NAMES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(CONTENT)
    return place


def assert_nothing_is_lost(place: Path) -> None:
    """All of them are there, as they were."""
    lost = [
        name
        for name in NAMES
        if not (place / name).is_file() or (place / name).read_text() != CONTENT
    ]
    assert lost == []
