# SPDX-License-Identifier: MIT
"""Which files of a tree count when they are saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from threading import Event

from watchfiles import Change, watch

from harness.errors import UserError

DEBOUNCE_MS = 150
"""An editor writes a file in several steps; what comes within this time is one save."""
_SOURCES = (".c", ".h", ".S", ".dts", ".dtsi", ".dtso", ".lds", ".config")
_BUILD_FILES = ("Makefile", "Kbuild", "Kconfig")
_BUILT = (".mod.c", "include/generated/", "include/config/")


def counts(root: Path, path: str) -> bool:
    """Whether a saved file may be a source: no build output, no editor's own file, nothing of
    git's.
    """
    try:
        place = PurePosixPath(os.path.relpath(path, root))
    except ValueError:
        return False
    if any(part.startswith((".", "#")) or part == ".." for part in place.parts):
        return False
    text = str(place)
    if any(text.endswith(end) or f"/{text}".find(f"/{end}") >= 0 for end in _BUILT):
        return False
    return text.endswith(_SOURCES) or place.name.startswith(_BUILD_FILES)


def follow(root: Path, stop: Event, saved: Callable[[], object]) -> None:
    """Calls `saved` after each save, until `stop` is set. Raises `UserError`."""

    def chosen(change: Change, path: str) -> bool:
        return counts(root, path)

    try:
        for _ in watch(
            root,
            watch_filter=chosen,
            debounce=DEBOUNCE_MS * 4,
            step=DEBOUNCE_MS,
            stop_event=stop,
            rust_timeout=500,
            yield_on_timeout=False,
            raise_interrupt=False,
        ):
            saved()
    except OSError as error:
        raise UserError(
            f"cannot watch {root}: {error.strerror or error} (sysctl fs.inotify.max_user_watches)"
        ) from error
