# SPDX-License-Identifier: MIT
"""What is in a root image that is loaded into RAM: an initramfs, or a file system for /dev/ram0."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from harness.board import CONSOLE_APPEND, RAMDISK_APPEND
from harness.errors import UserError

GZIP, NEWC = b"\x1f\x8b\x08", b"070701"
UBOOT, UBOOT_HEADER = b"\x27\x05\x19\x56", 64
"""U-Boot's header, which ``mkimage`` puts before a ramdisk (QEMU: ``hw/core/loader.c``)."""
_INIT = re.compile(rb"00000000(?:\./)?(init|linuxrc|sbin/init)\0")
"""The end of a member's header, and its name (``usr/gen_init_cpio.c``)."""
_INITS = (b"init", b"linuxrc", b"sbin/init")
"""Where an initramfs may have its init; the first that is there."""


def unpacked(data: bytes) -> bytes:
    """The content of an image: without U-Boot's header, and decompressed where it is gzip.

    As much as comes out, where it is damaged.
    """
    if data[:4] == UBOOT:
        data = data[UBOOT_HEADER:]
    if data[:3] != GZIP:
        return data
    try:
        return zlib.decompressobj(31).decompress(data)
    except zlib.error:
        return b""


def ramdisk_append(image: Path) -> str:
    """The kernel command line for a root image in RAM, where nobody gives one."""
    try:
        content = unpacked(image.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {image}: {error.strerror}") from error
    if content[:6] != NEWC:
        return RAMDISK_APPEND
    there = set(_INIT.findall(content))
    name = next((name for name in _INITS if name in there), None)
    return f"{CONSOLE_APPEND} rdinit=/{name.decode()}" if name else CONSOLE_APPEND
