# SPDX-License-Identifier: MIT
"""What is known of an entry of the cache: what it was made from, and what its files are.

``manifest.json`` has the inputs, and size, time and digest of the files that are looked at each
time; ``digests.json`` has all files, see `harness.host.integrity`. An entry without a manifest that
can be read is no entry.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.host.files import sync, write_text
from harness.host.integrity import Record, damage, parse, read_seal, seal

MANIFEST = "manifest.json"
TOUCH_SECONDS = 60.0


def write_manifest(
    out: Path,
    name: str,
    inputs: Mapping[str, str],
    begun: float,
    checked: Collection[str] | None = None,
) -> None:
    """Seals the entry. Nothing is renamed into its place before it is on the disk."""
    seal(out)
    known = read_seal(out) or {}
    names = known if checked is None else [path for path in checked if path in known]
    content: dict[str, Any] = {
        "name": name,
        "inputs": dict(inputs),
        "created": time.time(),
        "seconds": round(time.time() - begun, 1),
        "size": disk_size(out),
        "files": {path: known[path] for path in names},
    }
    write_text(out / MANIFEST, json.dumps(content, indent=2) + "\n")
    sync(out)


def read_manifest(path: Path) -> dict[str, Any]:
    """An entry's manifest. Raises `OSError`, `ValueError` for one that cannot be read."""
    content = json.loads((path / MANIFEST).read_text())
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{path / MANIFEST} is no manifest")
    return content


def sealed(path: Path) -> Record:
    """The files of an entry that are looked at each time; none in one of an older harness.

    Raises `OSError`, `ValueError` for a manifest that cannot be read.
    """
    return parse(read_manifest(path).get("files", {}))


def touch(entry: Path) -> None:
    """Notes that an entry is used: the modification time of its manifest is the last use."""
    # Not written at each call: a warm run leaves the disk alone, and a read-only cache serves too.
    manifest = entry / MANIFEST
    with contextlib.suppress(OSError):
        if time.time() - manifest.stat().st_mtime > TOUCH_SECONDS:
            os.utime(manifest)


def damaged_files(files: Iterable[Path]) -> list[str]:
    """Which of some files, those that are in a cache, are not what they were when they were made,
    by their contents. Their entries are made again when they are asked for next.
    """
    wanted: dict[Path, set[str]] = {}
    for file in files:
        place = file.resolve()
        for entry in place.parents:
            if entry.parent.name == "entries" and (entry / MANIFEST).is_file():
                wanted.setdefault(entry, set()).add(str(place.relative_to(entry)))
    return [text for entry, names in wanted.items() for text in condemned(entry, names)]


def spoilt(entry: Path, names: Collection[str] | None = None) -> list[str]:
    """The damaged files of an entry, of those that are named, by their contents; its manifest,
    where it is no entry any more.
    """
    known = read_seal(entry)
    try:
        known = sealed(entry) if known is None else known
        return damage(
            entry, {n: known[n] for n in known if names is None or n in names}, wholly=True
        )
    except (OSError, ValueError):
        return [MANIFEST]


def condemned(entry: Path, names: Collection[str] | None = None) -> list[str]:
    """As `spoilt`, with the entry's name; it is as if missing if there are."""
    bad = spoilt(entry, names)
    if bad:
        with contextlib.suppress(OSError):  # a cache that is only read
            (entry / MANIFEST).unlink()
    return [f"{entry.name}: {name}" for name in bad]


def created(entry: Path) -> float:
    """When an entry was made, in seconds since the epoch; 0 where that is not known."""
    try:
        return float(json.loads((entry / MANIFEST).read_text())["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def disk_size(path: Path) -> int:
    """Bytes that a tree takes on disk, a file with several links counted once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            status = os.lstat(os.path.join(directory, name))  # noqa: PTH118 (80,000 files)
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total
