# SPDX-License-Identifier: MIT
"""What cannot boot is said before the boot."""

from __future__ import annotations

import dataclasses
import gzip
import lzma
import struct
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.imageset import module, preflight, ramdisk, rootimage, zimage
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from tests.unit.memory.builders import BISCUITOS, build_dtb

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
    whole = ramdisk.NEWC + bytes(104) + rootimage.TRAILER + bytes(500)
    path = tmp_path / "initrd"
    path.write_bytes(whole)
    rootimage.check_initrd(path)
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match="truncated"):
        rootimage.check_initrd(path)
    path.write_bytes(gzip.compress(whole))
    rootimage.check_initrd(path)
    path.write_bytes(gzip.compress(whole)[:-12])
    with pytest.raises(UserError, match="truncated"):
        rootimage.check_initrd(path)


def elf(path: Path, machine: int) -> Path:
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    fields = struct.pack("<HHIIIIIHHHHHH", 1, machine, 1, 0, 0, 0, 0, 52, 0, 0, 40, 0, 0)
    path.write_bytes(head + fields)
    return path


def test_a_module_for_another_architecture_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not for 32-bit ARM"):
        module.module_vermagic(elf(tmp_path / "x86.ko", 62))
    with pytest.raises(UserError, match="no vermagic"):
        module.module_vermagic(elf(tmp_path / "arm.ko", 40))
    text = tmp_path / "text.ko"
    text.write_text("no module at all")
    with pytest.raises(UserError, match="not an ELF"):
        module.module_vermagic(text)


def two_areas(directory: Path) -> Path:
    path = directory / "board.dtb"
    path.write_bytes(build_dtb(BISCUITOS))
    return path


MAGIC = "6.1.192 SMP mod_unload ARMv7 p2v8 "


def test_a_module_for_another_kernel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "module_vermagic", lambda path: MAGIC)
    kernel = packed(tmp_path / "zImage", gzip.compress(BANNER))
    module.check_module(tmp_path / "cma.ko", "6.1.192", kernel)
    with pytest.raises(UserError, match=r"6\.1\.192, the kernel is 6\.12\.117"):
        module.check_module(tmp_path / "cma.ko", "6.12.117", kernel)


def test_a_module_for_another_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "module_vermagic", lambda path: MAGIC)
    same = packed(tmp_path / "same", gzip.compress(BANNER + MAGIC.encode() + b"\0"))
    module.check_module(tmp_path / "cma.ko", "6.1.192", same)
    words = b"6.1.192 SMP preempt mod_unload ARMv7 p2v8 \0"
    other = packed(tmp_path / "other", gzip.compress(BANNER + words))
    with pytest.raises(
        UserError, match=r"configured as `6[.]1[.]192 SMP mod_unload ARMv7 p2v8`, and"
    ):
        module.check_module(tmp_path / "cma.ko", "6.1.192", other)


DRIVERS = b"virtio-mmio\0virtio_blk\0ext4\0RAMDISK: "


def test_a_kernel_that_cannot_mount_the_root_image_is_refused(tmp_path: Path) -> None:
    whole = packed(tmp_path / "zImage", gzip.compress(BANNER + DRIVERS))
    assert not zimage.missing_options(whole, zimage.DISK)
    assert not zimage.missing_options(whole, zimage.RAMDISK)
    lacking = packed(tmp_path / "lacking", gzip.compress(BANNER + b"virtio-mmio\0ext4\0"))
    assert zimage.missing_options(lacking, zimage.DISK) == ["VIRTIO_BLK"]
    assert zimage.missing_options(lacking, zimage.RAMDISK) == ["BLK_DEV_RAM"]
    closed = packed(tmp_path / "closed", b"packed otherwise")
    assert not zimage.missing_options(closed, zimage.DISK), "nothing is known of it"


@pytest.mark.parametrize(
    ("part", "option"), [("disk", "CONFIG_VIRTIO_BLK=y"), ("initrd", "CONFIG_BLK_DEV_RAM=y")]
)
def test_what_cannot_be_mounted_is_said_before_the_boot(
    tmp_path: Path, part: str, option: str
) -> None:
    root = tmp_path / "root.img"
    root.write_bytes(bytes(0x438) + b"\x53\xef" + bytes(64))
    kernel = packed(tmp_path / "zImage", gzip.compress(BANNER + b"virtio-mmio\0ext4\0"))
    images = dataclasses.replace(ImageSet(kernel, two_areas(tmp_path)), **{part: root})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"cannot mount the root image .*{option}"):
        preflight.check(images, "BiscuitOS_cma", images.append)


def test_a_device_tree_without_the_area_is_refused(tmp_path: Path) -> None:
    kernel = packed(tmp_path / "zImage", gzip.compress(BANNER))
    images = ImageSet(kernel, two_areas(tmp_path))
    with pytest.raises(UserError, match="no CMA area Other in the device tree"):
        preflight.check(images, "Other", images.append)


@pytest.mark.parametrize("installed", [True, False])
def test_a_stale_module_in_the_package_matters_only_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    kernel = packed(tmp_path / "zImage", gzip.compress(BANNER + DRIVERS))
    disk = tmp_path / "root.img"
    disk.write_bytes(bytes(0x438) + b"\x53\xef" + bytes(64))
    monkeypatch.setattr(module, "module_vermagic", lambda path: MAGIC)
    there = "/lib/modules/5.0.0-cma/extra/it.ko" if installed else ""
    monkeypatch.setattr(preflight, "installed_driver", lambda root, release: there)
    images = ImageSet(kernel, two_areas(tmp_path), disk=disk, module=tmp_path / "cma.ko")
    if installed:
        preflight.check(images, "BiscuitOS_cma", images.append)
        images = dataclasses.replace(images, foreign=frozenset({"module"}))
    with pytest.raises(UserError, match=r"built for Linux 6\.1\.192, the kernel is 5\.0\.0-cma"):
        preflight.check(images, "BiscuitOS_cma", images.append)


def test_what_a_given_kernel_offers_is_read_from_it(tmp_path: Path) -> None:
    """And not what was built with which features, nor less than it has."""
    built = packed(tmp_path / "built", gzip.compress(BANNER + b"alloc_pages_success\0"))
    given = packed(tmp_path / "given", gzip.compress(BANNER + b"maxchunk\0"))
    images = ImageSet(built, two_areas(tmp_path), features=frozenset({Feature.CMA_SYSFS}))
    images = dataclasses.replace(images, system_map=tmp_path / "System.map")
    changed = preflight.with_given(images, {"kernel": given})
    assert changed.features == {Feature.CMA_DEBUGFS}
    assert changed.system_map is None
    copy = tmp_path / "copy"
    copy.write_bytes(built.read_bytes())
    same = preflight.with_given(images, {"kernel": copy})
    assert same == dataclasses.replace(images, kernel=copy), "a copy is what it is a copy of"


def test_a_kernel_is_unpacked_once_in_all_processes_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "zImage", gzip.compress(BANNER + DRIVERS + b"maxchunk\0"))
    monkeypatch.setattr(zimage, "_FACTS", {})
    facts = zimage.kernel_facts(path)
    told = zimage.share()
    monkeypatch.setattr(zimage, "_FACTS", {})
    monkeypatch.setattr(zimage, "_read", lambda path: pytest.fail("read again"))
    zimage.learn(told)
    assert zimage.kernel_facts(path) == facts
    assert facts.features == {Feature.CMA_DEBUGFS}
