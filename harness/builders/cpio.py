# SPDX-License-Identifier: MIT
"""Writes initramfs archives.

Format: newc, Documentation/driver-api/early-userspace/buffer-format.rst in the kernel.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterable, Iterator

_ALIGN = 4


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry of an archive, owned by root, with time stamp 0."""

    path: str
    """Relative to the root, no leading slash."""
    mode: int
    """Type and permission bits, as in ``st_mode``."""
    data: bytes = b""
    """Content of a file, target of a symbolic link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def archive(members: Iterable[Member]) -> bytes:
    """All members in their order, and the trailer. The same members give the same bytes."""
    parts: list[bytes] = []
    for number, member in enumerate(members, 1):
        links = 2 if stat.S_ISDIR(member.mode) else 1
        parts.append(_record(number, member, links))
    parts.append(_record(0, Member("TRAILER!!!", 0), 1))
    content = b"".join(parts)
    return content + bytes(-len(content) % 512)


def _record(inode: int, member: Member, links: int) -> bytes:
    name = member.path.encode() + b"\0"
    fields = (
        inode,
        member.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(member.data),
        0,  # device of the file system: major, minor
        0,
        *member.device,
        len(name),
        0,  # checksum, not used
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    data = member.data
    return header + bytes(-len(header) % _ALIGN) + data + bytes(-len(data) % _ALIGN)


def members(content: bytes) -> Iterator[Member]:
    """Reads an archive back, up to its trailer. Raises `ValueError` where it is damaged."""
    at = 0
    while True:
        if content[at : at + 6] != b"070701" or len(content) < at + 110:
            raise ValueError(f"no newc header at byte {at}")
        fields = [int(content[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name_end = at + 110 + fields[11]
        data_at = name_end + -name_end % _ALIGN
        data_end = data_at + fields[6]
        if data_end > len(content):
            raise ValueError(f"the archive ends inside the entry at byte {at}")
        path = content[at + 110 : name_end - 1].decode()
        if path == "TRAILER!!!":
            return
        device = (fields[9], fields[10])
        yield Member(path, fields[1], content[data_at:data_end], device)
        at = data_end + -data_end % _ALIGN
