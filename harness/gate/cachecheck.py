# SPDX-License-Identifier: MIT
"""Whether what a gate has taken from the cache is still what it was, read while it builds.

To read a kernel's tree wholly takes seconds, and a build leaves a processor idle: it takes nothing
else (sched(7), ``SCHED_IDLE``).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from harness.builders.cache import Cache
from harness.builders.manifest import condemned, spoilt
from harness.host.process import kill_group
from harness.testrun.suite import start

_WAIT = 5.0
"""Seconds for the rest of it, when its answer is wanted; else all is read here."""


class CacheCheck:
    """To be used in a ``with`` block, which ends it."""

    def __init__(self, cache: Cache, log: Path) -> None:
        """`log` is a file for what the reading process prints."""
        self._cache = cache
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._entries: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            kill_group(self._process)
        self._log.unlink(missing_ok=True)

    def begin(self) -> None:
        """Begins to read what this process has taken from the cache so far."""
        if self._process is None:
            self._entries = self._cache.leased()
            paths = [str(self._cache.root / "entries" / slug) for slug in self._entries]
            with self._log.open("wb") as log:
                self._process = start([sys.executable, "-m", __name__, *paths], log)

    def damaged(self) -> list[str]:
        """What is not what it was when it was made, of all that this process has taken; see
        `Cache.damaged`.
        """
        found = self._read()
        if found is None:
            return self._cache.damaged()
        entries = self._cache.root / "entries"
        # Only who judges takes an entry out of the cache, and looks at the files again for that.
        named = [(entries / slug, names) for slug, names in found.items() if names]
        bad = [name for entry, names in named for name in condemned(entry, names)]
        return bad + self._cache.damaged(but=self._entries)

    def _read(self) -> dict[str, list[str]] | None:
        """The damaged files of entries that the other process names; None where it says nothing, or
        gets no time to on a busy host.
        """
        if self._process is None:
            return None
        try:
            if self._process.wait(_WAIT):
                return None
            # Other programs may have said something before it, as the linker of programs does.
            found = json.loads(self._log.read_text().splitlines()[-1])
            return {str(slug): [str(name) for name in names] for slug, names in found.items()}
        except (subprocess.TimeoutExpired, OSError, ValueError, IndexError, AttributeError):
            kill_group(self._process)
            return None


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # where that is not allowed, it takes its share
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print(json.dumps({Path(path).name: spoilt(Path(path)) for path in sys.argv[1:]}))
