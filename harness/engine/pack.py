# SPDX-License-Identifier: MIT
"""What a task left in its directory, as bytes that can be moved: plain files only.

Tasks run what is not trusted (patches), so nothing but a file below the directory is packed, and
nothing else is unpacked.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from harness.errors import HarnessError
from harness.host.output import fresh

LARGEST = 64 << 20
"""Bytes of a file that is moved; what is larger is named in `LEFT_OUT`."""
LEFT_OUT = "left-out.txt"
_TEXTS = {".json", ".xml", ".txt", ".md", ".html", ".ktap", ".log"}
"""Files that may name their own directory."""


def pack(directory: Path, dropped: Collection[str] = ()) -> bytes:
    """The files below a directory; those in the entries `dropped` of it are left out."""
    content = io.BytesIO()
    left_out: list[str] = []
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for path, info in _plain(directory, dropped):
            name = str(path.relative_to(directory))
            if info.st_size > LARGEST:
                left_out.append(f"{name}: {info.st_size >> 20} MiB")
                continue
            _add(archive, name, path.read_bytes(), info.st_mtime)
        if left_out:
            _add(archive, LEFT_OUT, "\n".join([*left_out, ""]).encode(), 0)
    return content.getvalue()


def _plain(directory: Path, dropped: Collection[str]) -> Iterator[tuple[Path, os.stat_result]]:
    for place, directories, names in os.walk(directory):
        if Path(place) == directory:
            directories[:] = [name for name in directories if name not in dropped]
        directories.sort()
        for name in sorted(names):
            path = Path(place, name)
            info = path.lstat()
            if stat.S_ISREG(info.st_mode) and not (path.parent == directory and name in dropped):
                yield path, info


def _add(archive: tarfile.TarFile, name: str, data: bytes, time: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), int(time)
    archive.addfile(info, io.BytesIO(data))


def unpack(content: bytes, directory: Path, was: str = "") -> Path:
    """Lays the files into `directory`, made anew; where it is. In texts, the name `was` of the
    directory that they come from becomes that of this one.

    Raises `HarnessError` for what is no such archive, or does not fit on the disk.
    """
    try:
        to = fresh(directory)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.is_absolute() or ".." in name.parts:
                    continue
                read = archive.extractfile(member)
                assert read is not None
                data = read.read()
                if was and name.suffix in _TEXTS:
                    data = data.replace(was.encode(), str(to).encode())
                path = to / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                os.utime(path, (member.mtime, member.mtime))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise HarnessError(f"cannot write what a task left to {directory}: {error}") from error
    return to
