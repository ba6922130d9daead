# SPDX-License-Identifier: MIT
"""A git tree that looks like a kernel's, made in a moment."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

FILES = {
    "Kbuild": "",
    "Kconfig": "",
    "Makefile": "VERSION = 7\nPATCHLEVEL = 3\n",
    "arch/arm/Kconfig": "",
    "mm/Makefile": "obj-y += cma.o\n",
    "mm/cma.c": "one\ntwo\n",
    ".gitignore": "*.o\n",
}


def git(place: Path, *words: str) -> str:
    """Runs git as a user who has a name."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgSign=false")
    done = subprocess.run(
        ["git", *who, "-C", place, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write(place: Path, files: Mapping[str, str]) -> None:
    """Writes files below a directory."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def make(place: Path, files: Mapping[str, str] = FILES) -> Path:
    """A repository with one commit."""
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "main")
    write(place, files)
    commit(place, "first")
    return place


def commit(place: Path, subject: str) -> str:
    """Commits all that is there; the commit's id."""
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", subject)
    return git(place, "rev-parse", "HEAD")
