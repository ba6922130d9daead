# SPDX-License-Identifier: MIT
"""Looks into an ARM zImage: what it is, its release, and which drivers are built in."""

from __future__ import annotations

import functools
import lzma
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

from harness.errors import UserError

MAGIC = 0x016F2818
"""At offset 0x24 of an ARM zImage; its start and end addresses follow it
(``arch/arm/boot/compressed/head.S``).
"""
BANNER = re.compile(rb"Linux version (\S+) ")
COMPRESSED = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
)
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


def check_kernel(path: Path) -> None:
    """Raises `UserError` unless the file is an ARM zImage."""
    data = _read(path)
    magic, start, end = struct.unpack("<3I", data[0x24:0x30].ljust(12, b"\0"))
    if magic == MAGIC:
        if len(data) < end - start:
            raise UserError(
                f"{path} is truncated: it has {len(data)} of {end - start} bytes; copy it again"
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
    match = BANNER.search(_content(path))
    return match[1].decode("utf-8", "replace") if match else ""


def missing_options(path: Path, wanted: dict[str, bytes]) -> list[str]:
    """Which of `DISK` or `RAMDISK` the kernel was built without; none where it cannot be told."""
    content = _content(path)
    return [name for name, mark in wanted.items() if content and mark not in content]


def takes_vermagic(path: Path, vermagic: str) -> bool:
    """Whether the kernel has these words of its own build (``SMP``, ``PREEMPT``, …) in it, or none
    can be found in it at all.
    """
    content = _content(path)
    return b" mod_unload " not in content or vermagic.encode() in content


def _content(path: Path) -> bytes:
    """The kernel in a zImage; empty where it is packed in a way that nobody here unpacks."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return _unpacked(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _unpacked(path: Path, _size: int, _mtime_ns: int) -> bytes:
    data = _read(path)
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
            return zlib.decompressobj(31).decompress(data)
        if kind == "lz4":
            if shutil.which("lz4") is None:
                return b""
            # The boot code follows the compressed part: lz4 complains of it, after the output.
            return subprocess.run(
                ["lz4", "-dc"], input=data, capture_output=True, check=False
            ).stdout
        return lzma.LZMADecompressor().decompress(data)
    except (zlib.error, lzma.LZMAError, EOFError):
        return b""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
