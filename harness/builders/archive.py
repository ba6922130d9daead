# SPDX-License-Identifier: MIT
"""An entry of the cache as one file that can be moved, and back, checked against its own record.

The format is a POSIX tar (it keeps nanoseconds, which make looks at) compressed by lz4.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from harness.builders.key import Key
from harness.builders.manifest import MANIFEST, few, read_manifest
from harness.errors import HarnessError
from harness.host import programs
from harness.host.integrity import SEAL, damage, read_seal
from harness.host.process import clean_environment, kill_group

SUFFIX = ".tar.lz4"


class BadArchive(HarnessError):
    """It is not what it should be: cut off, damaged, or of something else."""


def pack(entry: Path, to: Path) -> None:
    """Writes the archive of an entry. Raises `HarnessError`; `OSError` where the disk is full."""
    words = ["tar", "--create", "--format=posix", "--sort=name", "--numeric-owner", "."]
    with to.open("wb") as file:
        _piped(words, ["lz4", "-1", "-q", "-c"], entry, None, file.fileno(), "packing")


def unpack(archive: Path, to: Path, slug: str) -> None:
    """Lays the entry `slug` into the empty directory `to`.

    Raises `BadArchive` for what is not that entry, whole and as its record says.
    """
    # tar refuses names with .. and makes links that lead outside only at the very end.
    words = ["tar", "--extract", "--no-same-owner", "--file=-"]
    with archive.open("rb") as file:
        _piped(["lz4", "-d", "-q", "-c"], words, to, file.fileno(), None, "unpacking")
    why = wrong(to, slug)
    if why:
        raise BadArchive(f"the archive of {slug} is refused: {why}")


def wrong(entry: Path, slug: str) -> str:
    """Why a directory is not the entry `slug` as it was made; empty where it is."""
    try:
        content = read_manifest(entry)
        named = Key(str(content["name"]), dict(content["inputs"])).slug
    except (OSError, ValueError, KeyError, TypeError):
        return "it has no manifest"
    if named != slug:
        return f"it is {named}"
    known = read_seal(entry)
    if known is None:
        return f"its record {SEAL} is missing or damaged"
    if bad := damage(entry, known, wholly=True):
        return f"not as they were made: {few(bad)}"
    return _strangers(entry, {*known, SEAL, MANIFEST})


def _strangers(entry: Path, known: set[str]) -> str:
    """What is in it that its record does not have: files, and links that lead out of it."""
    root = os.path.realpath(entry)
    for place, directories, names in os.walk(entry):
        for name in (*names, *directories):
            path = Path(place, name)
            mode = path.lstat().st_mode
            shown = str(path.relative_to(entry))
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if target != root and not target.startswith(f"{root}/"):
                    return f"{shown} leads out of it"
            elif not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or shown not in known):
                return f"its record does not have {shown}"
    return ""


def _piped(
    first: Sequence[str],
    second: Sequence[str],
    directory: Path,
    source: int | None,
    to: int | None,
    what: str,
) -> None:
    """Runs two programs in a directory, the first one's output being the second one's input."""
    programs.require("tar", "lz4")
    with contextlib.ExitStack() as stack:
        one = _start(first, directory, source, subprocess.PIPE)
        stack.callback(_end, one)
        assert one.stdout is not None
        two = _start(second, directory, one.stdout, to)
        stack.callback(_end, two)
        one.stdout.close()
        said = two.communicate()[1]
        assert one.stderr is not None
        said = one.stderr.read() + said
        if one.wait() or two.wait():
            text = said.decode(errors="replace").strip()
            if "No space left" in text:
                raise HarnessError(f"{what} failed: no space left on the device")
            raise BadArchive(f"{what} failed: {text.splitlines()[-1] if text else 'no reason'}")


def _start(
    argv: Sequence[str], directory: Path, source: int | IO[bytes] | None, to: int | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=directory,
        stdin=source,
        stdout=to,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        process_group=0,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    kill_group(process)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def room(directory: Path, needed: int) -> None:
    """Raises `HarnessError` where a directory's file system has less room, in bytes."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise HarnessError(f"{directory} has {free >> 20} MiB free, and {needed >> 20} are needed")
