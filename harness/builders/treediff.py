# SPDX-License-Identifier: MIT
"""What patches changed in a tree, and which objects get line tables for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.builders.mirror import plain_file
from harness.errors import BuildError


def unified(places: Iterable[tuple[str, Path, Path]], context: int = 0) -> str:
    """One unified diff with so many lines of context. `places` are names of files, with the
    directories of the file before and after; a file that is missing on a side is empty there.
    """
    parts: list[str] = []
    for name, before, after in places:
        old, new = _lines(before, name), _lines(after, name)
        for row in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=context):
            parts.append(row if row.endswith("\n") else f"{row}\n")
    return "".join(parts)


def _lines(root: Path, name: str) -> list[str]:
    try:
        text = plain_file(root, name).read_text(encoding="utf-8", errors="replace")
    except (OSError, BuildError):
        return []
    # Only as git and compilers count lines.
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []


def traced_objects(paths: Iterable[str]) -> list[str]:
    """Names of the objects that are compiled from C files among `paths`, without ``.o``."""
    return sorted({PurePosixPath(path).stem for path in paths if path.endswith(".c")})
