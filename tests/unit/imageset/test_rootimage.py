# SPDX-License-Identifier: MIT
"""Root images: their kind, and the driver that is installed in them."""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from harness.builders.cpio import Member, archive
from harness.errors import UserError
from harness.imageset import rootimage

EXT4 = bytes(0x438) + b"\x53\xef" + bytes(64)
DRIVER = b"\0CMA_demo\0find_cma_by_name\0"
PLACE = "lib/modules/5.0.0/extra"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (EXT4, "ext"),
        (b"070701" + bytes(200), "newc"),
        (gzip.compress(EXT4, mtime=0), "gzip"),
        (b"\x27\x05\x19\x56" + bytes(60) + EXT4, "ext"),
        (b"hsqs" + bytes(100), "squashfs"),
        (b"\xfd7zXZ\0" + bytes(100), "xz"),
        (b"#!/bin/sh\n", ""),
        (bytes(70000), ""),
    ],
)
def test_the_kind_of_an_image(content: bytes, kind: str) -> None:
    assert rootimage.kind_of(content) == kind


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"text" * 100, "neither a file system nor an initramfs"),
        (gzip.compress(b"text" * 100, mtime=0), r"neither a file system .*\(unpacked\)"),
        (bytes(510) + b"\x55\xaa" + bytes(600), "has a partition table"),
    ],
)
def test_an_initrd_that_no_kernel_could_use_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "initrd").write_bytes(content)
    with pytest.raises(UserError, match=said):
        rootimage.check_initrd(tmp_path / "initrd")


def test_a_ramdisk_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "root.img").write_bytes(gzip.compress(EXT4, mtime=0))
    with pytest.raises(UserError, match="is no disk but gzip data: give it as --initrd"):
        rootimage.check_disk(tmp_path / "root.img")


def members(name: str) -> list[Member]:
    places = ["lib", "lib/modules", "lib/modules/5.0.0", PLACE]
    directories = [Member(place, stat.S_IFDIR | 0o755) for place in places]
    other = Member(f"{PLACE}/other.ko", stat.S_IFREG | 0o644, b"\0hello\0")
    return [*directories, other, Member(f"{PLACE}/{name}", stat.S_IFREG | 0o644, DRIVER)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_driver_in_an_initramfs_is_found_by_what_it_is(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    image = tmp_path / "initrd"
    image.write_bytes(pack(archive(members("CMA_area_module-0.0.1.ko"))))
    found = rootimage.installed_driver(image, "5.0.0")
    assert found == f"/{PLACE}/CMA_area_module-0.0.1.ko"
    assert rootimage.installed_driver(image, "6.1.0") == "", "it is another kernel's"
    assert rootimage.installed_driver(image, "") is None


@pytest.mark.parametrize("compressed", [False, True])
def test_the_driver_in_a_file_system_is_found_by_what_it_is(
    tmp_path: Path, compressed: bool
) -> None:
    if shutil.which("mke2fs") is None:
        pytest.skip("mke2fs is not installed")
    place = tmp_path / "root" / PLACE
    place.mkdir(parents=True)
    (place / "areas.ko").write_bytes(DRIVER)
    (place / "zzz.ko").write_bytes(b"\0hello\0")
    image = tmp_path / "root image.img"
    argv = ["mke2fs", "-q", "-t", "ext4", "-d", str(tmp_path / "root"), str(image), "4M"]
    subprocess.run(argv, check=True)
    if compressed:
        image.write_bytes(gzip.compress(image.read_bytes(), mtime=0))
    assert rootimage.installed_driver(image, "5.0.0") == f"/{PLACE}/areas.ko"
    assert rootimage.installed_driver(image, "6.1.0") == ""
