# SPDX-License-Identifier: MIT
"""Looks into an ARM zImage: what it is, its release, its features and its drivers.

An image is read and unpacked once in a process, and in a run of several processes by the first of
them (`share`, `learn`).
"""

from __future__ import annotations

import dataclasses
import json
import lzma
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

from harness.errors import UserError
from harness.host import confine, tool
from harness.imageset.features import Feature, parse_all, shown_by

MAGIC = 0x016F2818
"""At offset 0x24 of an ARM zImage; its start and end addresses follow it
(``arch/arm/boot/compressed/head.S``).
"""
BANNER = re.compile(rb"Linux version (\S+) ")
COMPRESSED = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
)
_MOST_BYTES = 256 * 2**20
"""Of what comes out of a compressed kernel; one of this board has some ten million."""
_PROGRAMS = frozenset({"lz4", "lzop"})
"""Compressions that Python has not, by the program that has."""
_VERMAGIC = b" mod_unload "
"""In the text that says what modules must have been built for (``include/linux/vermagic.h``)."""
_OTHERS = (
    (0, b"\x7fELF", "an ELF file (vmlinux?)"),
    (0, b"\x27\x05\x19\x56", "an image for U-Boot (uImage)"),
    (0x38, b"ARM\x64", "an arm64 Image"),
    (0x202, b"HdrS", "an x86 bzImage"),
)
"""Where other kernels have what mark."""
DISK = {
    "VIRTIO_MMIO": b"virtio-mmio\0",
    "VIRTIO_BLK": b"virtio_blk\0",
    "EXT4_FS": b"ext4\0",
}
"""Options without which a root disk cannot be mounted, and a name in the kernel that shows each."""
RAMDISK = {"BLK_DEV_RAM": b"RAMDISK: ", "EXT4_FS": b"ext4\0"}
"""The same for a file system that is loaded into RAM."""


@dataclasses.dataclass(frozen=True)
class KernelFacts:
    """What is known of a kernel that was not booted."""

    known: bool
    """Whether it could be unpacked; nothing else means anything where it could not."""
    release: str = ""
    """``uname -r``."""
    features: frozenset[Feature] = frozenset()
    """Those of `harness.imageset.features` that a kernel has."""
    drivers: frozenset[str] = frozenset()
    """The options of `DISK` and `RAMDISK` that it was built with."""
    vermagics: frozenset[str] = frozenset()
    """What its modules must have been built for; none where it cannot unload modules."""

    @classmethod
    def of(cls, content: bytes) -> KernelFacts:
        """The facts in an unpacked kernel."""
        banner = BANNER.search(content)
        if banner is None:
            return cls(known=False)
        marks = (DISK | RAMDISK).items()
        return cls(
            known=True,
            release=banner[1].decode("utf-8", "replace"),
            features=shown_by("kernel", content),
            drivers=frozenset(name for name, mark in marks if mark in content),
            vermagics=frozenset(_texts_with(content, _VERMAGIC)),
        )


def _texts_with(content: bytes, part: bytes) -> list[str]:
    """The texts (up to a NUL on either side) that have `part` in them."""
    found = []
    at = content.find(part)
    while at >= 0:
        start, end = content.rfind(b"\0", 0, at) + 1, content.find(b"\0", at)
        found.append(content[start:end].decode("utf-8", "replace"))
        at = content.find(part, at + 1)
    return found


_State = tuple[str, int, int, int]
_FACTS: dict[_State, KernelFacts] = {}
"""By a file's path, size, time of change and inode."""


def kernel_facts(path: Path) -> KernelFacts:
    """What is known of a zImage. Raises `UserError` where it cannot be read."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    state = (str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if state not in _FACTS:
        _FACTS[state] = KernelFacts.of(_unpacked(_read(path)))
    return _FACTS[state]


def share() -> str:
    """All that this process knows of kernels, for `learn` in another."""
    found = []
    for state, facts in _FACTS.items():
        fields = dataclasses.asdict(facts).items()
        plain = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in fields}
        found.append([state, plain])
    return json.dumps(found)


def learn(text: str) -> None:
    """Takes over what another process knew (`share`)."""
    for state, fields in json.loads(text):
        _FACTS[tuple(state)] = KernelFacts(
            known=fields["known"],
            release=fields["release"],
            features=parse_all(fields["features"]),
            drivers=frozenset(fields["drivers"]),
            vermagics=frozenset(fields["vermagics"]),
        )


def check_kernel(path: Path) -> None:
    """Raises `UserError` unless the file is an ARM zImage."""
    data, size = _head(path)
    magic, start, end = struct.unpack("<3I", data[0x24:0x30].ljust(12, b"\0"))
    if magic == MAGIC:
        if size < end - start:
            raise UserError(
                f"{path} is truncated: it has {size} of {end - start} bytes; copy it again"
            )
        return
    marks = (name for at, mark, name in _OTHERS if data[at : at + len(mark)] == mark)
    looks = next(marks, "something else") if data else "empty"
    raise UserError(
        f"{path} is no ARM zImage but {looks}: give arch/arm/boot/zImage of a kernel"
        " built for vexpress"
    )


def kernel_release(path: Path) -> str:
    """``uname -r`` of a zImage, from the banner in its compressed part; empty if it is not
    found.
    """
    return kernel_facts(path).release


def missing_options(path: Path, wanted: dict[str, bytes]) -> list[str]:
    """Which of `DISK` or `RAMDISK` the kernel was built without; none where it cannot be told."""
    facts = kernel_facts(path)
    return [name for name in wanted if facts.known and name not in facts.drivers]


def takes_vermagic(path: Path, vermagic: str) -> bool:
    """Whether the kernel has these words of its own build (``SMP``, ``PREEMPT``, …) in it, or none
    can be found in it at all.
    """
    facts = kernel_facts(path)
    return not facts.vermagics or vermagic in facts.vermagics


def _unpacked(data: bytes) -> bytes:
    """The kernel in a zImage; empty where its compression is not supported."""
    for magic, kind in COMPRESSED:
        at = data.find(magic)
        while at >= 0:
            content = _decompressed(data[at:], kind)
            if BANNER.search(content):
                return content
            at = data.find(magic, at + 1)
    return b""


def _decompressed(data: bytes, kind: str) -> bytes:
    """As much as comes out; what follows the compressed part is not part of it."""
    try:
        if kind == "gzip":
            return zlib.decompressobj(31).decompress(data, _MOST_BYTES)
        if kind in _PROGRAMS:
            if shutil.which(kind) is None:
                return b""
            # The boot code follows the compressed part: they complain of it, after the output.
            # A patch may have made it, so they run confined.
            command = ["sh", "-c", f"{kind} -dc | head -c {_MOST_BYTES}"]
            return tool.run(command, data=data).stdout
        return lzma.LZMADecompressor().decompress(data, _MOST_BYTES)
    except (zlib.error, lzma.LZMAError, EOFError, confine.NoMeans, subprocess.SubprocessError):
        return b""


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size."""
    try:
        with path.open("rb") as file:
            return file.read(4096), path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
