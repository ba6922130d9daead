# SPDX-License-Identifier: MIT
"""Looks at an image set before it is booted: what cannot work is said now, not after a time-out."""

from __future__ import annotations

import dataclasses
import filecmp
import shutil
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from harness.board import DISK_APPEND
from harness.errors import UserError
from harness.imageset.features import Feature, of_part, shown_by
from harness.imageset.model import ImageSet
from harness.imageset.ramdisk import GZIP, NEWC, UBOOT, UBOOT_HEADER, ramdisk_append, unpacked
from harness.imageset.zimage import (
    DISK,
    RAMDISK,
    check_kernel,
    kernel_facts,
    kernel_release,
    missing_options,
    takes_vermagic,
)
from harness.memory.devicetree import read_dtb
from harness.memory.ranges import AddressRange

EXT_MAGIC_AT, EXT_MAGIC = 0x438, b"\x53\xef"
AREA_SIZE = 8 << 20
DRIVER = "/lib/modules/{}/extra/cma.ko"
TRAILER = b"TRAILER!!!"


def with_given(images: ImageSet, given: Mapping[str, Path]) -> ImageSet:
    """The image set with parts replaced by the user's: ``kernel``, ``dtb``, ``initrd``, ``disk``, …

    What is known of the built parts is not claimed of the user's: symbols and release are the built
    kernel's, a root image is not taken to hold our agent or ssh server unless it does, and a device
    tree has the areas that it has.
    """
    changes: dict[str, object] = dict(given)
    features = images.features
    if "kernel" in given:
        check_kernel(given["kernel"])
        if not same_file(given["kernel"], images.kernel):
            changes |= _of_kernel(given["kernel"])
            features = features - of_part("kernel") | kernel_facts(given["kernel"]).features
    if "dtb" in given:
        features -= of_part("dtb")
        if has_two_areas(given["dtb"]):
            features |= {Feature.TWO_AREAS}
    if "initrd" in given:
        content = unpacked(_read(given["initrd"]))
        features = features - of_part("initrd") | shown_by("initrd", content)
        if Feature.AGENT not in features:
            changes["append"] = ramdisk_append(given["initrd"])
        changes.setdefault("disk", None)
    if "disk" in given:
        _check_disk(given["disk"])
        features -= of_part("initrd")
        changes["append"] = DISK_APPEND
        changes.setdefault("initrd", None)
    changes["features"] = features
    changes["foreign"] = images.foreign | (given.keys() & {"module", "app"})
    return with_parts(dataclasses.replace(images, **changes))  # type: ignore[arg-type]


def same_file(first: Path, second: Path) -> bool:
    """Whether two files have the same content. False where one cannot be read."""
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _of_kernel(kernel: Path) -> dict[str, object]:
    """What is known of a kernel of the user's alone."""
    return {"vmlinux": None, "system_map": None, "release": kernel_release(kernel)}


def is_ext(content: bytes) -> bool:
    """Whether an image is an ext2, ext3 or ext4 file system (``fs/ext4/ext4.h``)."""
    return content[EXT_MAGIC_AT : EXT_MAGIC_AT + 2] == EXT_MAGIC


def has_two_areas(path: Path) -> bool:
    """Whether the device tree declares the two areas at the places of ``images/dts``."""
    nodes = {node.name: node for node in read_dtb(_read(path), str(path)).cma_nodes}
    wanted = {"linux,cma": (True, 0x69000000), "BiscuitOS_cma": (False, 0x69800000)}
    return nodes.keys() == wanted.keys() and all(
        nodes[name].cma_default == default
        and nodes[name].size == AREA_SIZE
        and nodes[name].windows == (AddressRange.from_size(start, AREA_SIZE),)
        for name, (default, start) in wanted.items()
    )


def _check_disk(path: Path) -> None:
    """Raises `UserError` for a root disk that is none."""
    try:
        with path.open("rb") as file:
            head = file.read(EXT_MAGIC_AT + 2)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if head[:4] == b"QFI\xfb":
        raise UserError(
            f"{path} is a qcow2 image; make it raw: qemu-img convert -O raw {path.name} root.img"
        )
    if not is_ext(head):
        raise UserError(
            f"{path} has no ext4 file system at its start; give the raw root image, without a"
            " partition table"
        )


def with_parts(images: ImageSet) -> ImageSet:
    """The image set with the features that its module and application show."""
    features = images.features
    for part, path in (("module", images.module), ("app", images.app)):
        features -= of_part(part)
        if path is not None:
            features |= shown_by(part, _read(path))
    return dataclasses.replace(images, features=features)


def check(images: ImageSet, area: str, command_line: str) -> None:
    """Raises `UserError` for what cannot boot or cannot be judged; says which file and why."""
    check_kernel(images.kernel)
    if images.initrd is not None:
        check_initrd(images.initrd)
    tree = read_dtb(_read(images.dtb), str(images.dtb))
    if "cma=" not in command_line:
        tree.area(area)
    _check_root(images)
    release = images.release or kernel_release(images.kernel)
    there = _has_driver(images, release) if Feature.AGENT not in images.features else None
    if images.module is not None and ("module" in images.foreign or not there):
        check_module(images.module, release, images.kernel)
    elif images.module is None and there is False:
        raise UserError(
            f"the root image {images.disk or images.initrd} has no {DRIVER.format(release)}, and"
            " no module was given: use --module FILE (pytest: --qemu-module)"
        )
    if images.app is not None:
        # Our root image has no libraries; another may have.
        static = Feature.AGENT in images.features
        _check_elf(images.app, "application", "arm-linux-gnueabihf-gcc -static" if static else "")


def _check_root(images: ImageSet) -> None:
    """Raises `UserError` where the kernel cannot mount what is its root."""
    wanted, image = DISK, images.disk
    if image is None:
        wanted, image = RAMDISK, images.initrd
        if image is None or not is_ext(unpacked(_read(image))):
            return
    missing = missing_options(images.kernel, wanted)
    if missing:
        options = ", ".join(f"CONFIG_{name}=y" for name in missing)
        raise UserError(
            f"{images.kernel} cannot mount the root image {image}: build it with {options}"
        )


def _has_driver(images: ImageSet, release: str) -> bool | None:
    """Whether the root image holds ``cma.ko``; None where that cannot be told before the boot."""
    path = DRIVER.format(release)
    if images.disk is not None:
        if not release or shutil.which("debugfs") is None:
            return None
        done = subprocess.run(
            ["debugfs", "-R", f"stat {path}", str(images.disk)],
            capture_output=True,
            text=True,
            check=False,
        )
        return None if done.returncode else "File not found" not in done.stderr
    if images.initrd is None:
        return None
    content = unpacked(_read(images.initrd))
    return b"extra/cma.ko" in content if content[:6] == NEWC else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def check_initrd(path: Path) -> None:
    """Raises `UserError` for an initramfs or compressed ramdisk that ends before its end."""
    data = _read(path)
    if not data:
        raise UserError(f"{path} is empty")
    if data[:4] == UBOOT:
        data = data[UBOOT_HEADER:]
    if data[:3] == GZIP:
        unpacker = zlib.decompressobj(31)
        try:
            data = unpacker.decompress(data)
        except zlib.error as error:
            raise UserError(f"{path} is a damaged gzip file: {error}") from error
        if not unpacker.eof:
            raise UserError(f"{path} is truncated: its gzip data has no end; copy it again")
    if data[:6] == NEWC and TRAILER not in data[-4096:]:
        raise UserError(f"{path} is truncated: a newc archive without its trailer; copy it again")


def module_vermagic(path: Path) -> str:
    """The version that a module was built for. Raises `UserError` for what is no ARM module."""
    _read(path)
    with path.open("rb") as file:
        section = _elf(path, file, "kernel module").get_section_by_name(".modinfo")
        info = section.data() if section is not None else b""
    for entry in info.split(b"\0"):
        if entry.startswith(b"vermagic="):
            return entry[9:].decode("utf-8", "replace")
    raise UserError(f"{path} is no kernel module: it has no vermagic")


def _elf(path: Path, file: IO[bytes], what: str) -> ELFFile:
    try:
        elf = ELFFile(file)
    except ELFError as error:
        raise UserError(f"{path} is no {what}: not an ELF file ({error})") from error
    if elf["e_machine"] != "EM_ARM":
        raise UserError(
            f"{path} is built for {elf['e_machine']}, not for ARM: set ARCH=arm CROSS_COMPILE=…"
        )
    return elf


def _check_elf(path: Path, what: str, how: str) -> None:
    try:
        with path.open("rb") as file:
            elf = _elf(path, file, what)
            if how and any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
                raise UserError(f"{path} is linked dynamically; build it with {how}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def check_module(path: Path, release: str, kernel: Path) -> None:
    """Raises `UserError` where the module was built for another kernel than this, by its release
    or by what it was built with.
    """
    magic = module_vermagic(path)
    if release and magic.split()[0] != release:
        raise UserError(
            f"{path} was built for Linux {magic.split()[0]}, the kernel is {release}:"
            " build the module against this kernel"
        )
    if not takes_vermagic(kernel, magic):
        raise UserError(
            f"{path} was built for a Linux {release} that was configured as `{magic.strip()}`, and"
            f" {kernel} was not: build the module against this kernel"
        )
