# SPDX-License-Identifier: MIT
"""What cannot boot is said before the boot."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest

from harness import preflight, ramdisk, zimage
from harness.errors import UserError

BANNER = b"Linux version 5.0.0-cma (builder@host) (gcc) #1 SMP\n\0" + bytes(4000)


def packed(path: Path, compressed: bytes) -> Path:
    head = bytearray(0x40)
    struct.pack_into("<I", head, 0x24, zimage.MAGIC)
    path.write_bytes(bytes(head) + b"\x1f\x8b\x08 a false start" + compressed + b"more code")
    return path


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_the_release_is_read_out_of_the_compressed_kernel(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = packed(tmp_path / "zImage", compress(BANNER))
    zimage.check_kernel(path)
    assert zimage.kernel_release(path) == "5.0.0-cma"


def test_a_truncated_kernel_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "zImage", gzip.compress(BANNER))
    data = bytearray(path.read_bytes())
    struct.pack_into("<II", data, 0x28, 0, len(data))
    path.write_bytes(data)
    zimage.check_kernel(path)
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match="truncated"):
        zimage.check_kernel(path)


def test_a_kernel_whose_release_cannot_be_found_has_none(tmp_path: Path) -> None:
    assert zimage.kernel_release(packed(tmp_path / "zImage", b"nothing")) == ""


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "empty"),
        (b"\x7fELF" + bytes(60), "ELF"),
        (bytes(0x38) + b"ARM\x64" + bytes(8), "arm64"),
        (bytes(0x202) + b"HdrS" + bytes(64), "x86 bzImage"),
        (b"\x27\x05\x19\x56" + bytes(64), "U-Boot"),
        (b"#!/bin/sh\n" * 10, "something else"),
    ],
)
def test_a_file_that_is_no_kernel_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, looks: str
) -> None:
    path = tmp_path / "zImage"
    path.write_bytes(content)
    with pytest.raises(UserError, match=looks):
        zimage.check_kernel(path)


def test_a_truncated_initramfs_is_refused(tmp_path: Path) -> None:
    whole = ramdisk.NEWC + bytes(104) + preflight.TRAILER + bytes(500)
    path = tmp_path / "initrd"
    path.write_bytes(whole)
    preflight.check_initrd(path)
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match="truncated"):
        preflight.check_initrd(path)
    path.write_bytes(gzip.compress(whole))
    preflight.check_initrd(path)
    path.write_bytes(gzip.compress(whole)[:-12])
    with pytest.raises(UserError, match="truncated"):
        preflight.check_initrd(path)


def elf(path: Path, machine: int) -> Path:
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    fields = struct.pack("<HHIIIIIHHHHHH", 1, machine, 1, 0, 0, 0, 0, 52, 0, 0, 40, 0, 0)
    path.write_bytes(head + fields)
    return path


def test_a_module_for_another_architecture_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not for ARM"):
        preflight.module_vermagic(elf(tmp_path / "x86.ko", 62))
    with pytest.raises(UserError, match="no vermagic"):
        preflight.module_vermagic(elf(tmp_path / "arm.ko", 40))
    text = tmp_path / "text.ko"
    text.write_text("no module at all")
    with pytest.raises(UserError, match="not an ELF"):
        preflight.module_vermagic(text)


def test_a_module_for_another_kernel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "module_vermagic", lambda path: "6.1.192 SMP mod_unload ARMv7")
    preflight.check_module(tmp_path / "cma.ko", "6.1.192")
    with pytest.raises(UserError, match=r"6\.1\.192, the kernel is 6\.12\.117"):
        preflight.check_module(tmp_path / "cma.ko", "6.12.117")
