# SPDX-License-Identifier: MIT
"""A root image in RAM: initramfs or file system, packed or not, with U-Boot's header or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from harness.board import RAMDISK_APPEND
from harness.builders.cpio import Member, archive
from harness.imageset.ramdisk import UBOOT, UBOOT_HEADER, ramdisk_append, unpacked

EXT4 = bytes(0x438) + b"\x53\xef" + bytes(64)
HEADER = UBOOT.ljust(UBOOT_HEADER, b"\0")


@pytest.mark.parametrize(
    "image",
    [EXT4, gzip.compress(EXT4), HEADER + gzip.compress(EXT4), HEADER + EXT4],
    ids=["plain", "gzip", "u-boot-gzip", "u-boot"],
)
def test_what_is_packed_is_found(image: bytes) -> None:
    assert unpacked(image) == EXT4


def test_a_damaged_image_has_no_content() -> None:
    assert unpacked(b"\x1f\x8b\x08 damaged") == b""


def test_a_file_system_is_mounted(tmp_path: Path) -> None:
    image = tmp_path / "ramdisk.img"
    image.write_bytes(HEADER + gzip.compress(EXT4))
    assert ramdisk_append(image) == RAMDISK_APPEND


@pytest.mark.parametrize(
    ("names", "init"),
    [
        (["init", "linuxrc"], " rdinit=/init"),
        (["bin", "linuxrc"], " rdinit=/linuxrc"),
        (["sbin", "sbin/init"], " rdinit=/sbin/init"),
        (["etc", "etc/init"], ""),
    ],
)
def test_an_initramfs_is_started_by_the_init_that_it_has(
    tmp_path: Path, names: list[str], init: str
) -> None:
    image = tmp_path / "initramfs"
    image.write_bytes(gzip.compress(archive([Member(name, 0o100755, b"x") for name in names])))
    append = ramdisk_append(image)
    assert append.startswith("console=ttyAMA0")
    assert append.partition(" panic=-1")[2] == init
