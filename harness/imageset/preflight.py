# SPDX-License-Identifier: MIT
"""Looks at an image set before it is booted: what cannot work is said now, not after a time-out."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
from collections.abc import Mapping
from pathlib import Path

from harness.board import DISK_APPEND, RAM_START
from harness.errors import UserError
from harness.imageset.features import Feature, of_part, shown_by
from harness.imageset.model import ImageSet
from harness.imageset.module import MARKS, arm_elf, check_module
from harness.imageset.ramdisk import ramdisk_append, unpacked
from harness.imageset.rootimage import check_disk, check_initrd, installed_driver, is_ext
from harness.imageset.zimage import (
    DISK,
    RAMDISK,
    check_kernel,
    kernel_facts,
    kernel_release,
    missing_options,
)
from harness.memory.devicetree import read_dtb
from harness.memory.ranges import AddressRange

MIB = 1 << 20
AREA_SIZE = 8 * MIB


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
        check_initrd(given["initrd"])
        content = unpacked(_read(given["initrd"]))
        features = features - of_part("initrd") | shown_by("initrd", content)
        if Feature.AGENT not in features:
            changes["append"] = ramdisk_append(given["initrd"])
        changes.setdefault("disk", None)
    if "disk" in given:
        check_disk(given["disk"])
        features -= of_part("initrd")
        changes["append"] = DISK_APPEND
        changes.setdefault("initrd", None)
    changes["features"] = features
    changes["foreign"] = images.foreign | (given.keys() & {"module", "app"})
    replaced = with_parts(dataclasses.replace(images, **changes))  # type: ignore[arg-type]
    return by_heap(replaced) if "kernel" in given and "module" not in given else replaced


def check_given(given: Mapping[str, Path]) -> None:
    """Raises `UserError` where one of the user's files by itself cannot be used: before the others
    are built, which takes minutes.
    """
    if "kernel" in given:
        check_kernel(given["kernel"])
    if "dtb" in given:
        read_dtb(_read(given["dtb"]), str(given["dtb"]))
    if "initrd" in given:
        check_initrd(given["initrd"])
    if "disk" in given:
        check_disk(given["disk"])
    for part, what in (("module", "kernel module"), ("app", "application")):
        if part in given:
            arm_elf(given[part], _read(given[part]), what)


def by_heap(images: ImageSet) -> ImageSet:
    """The image set without its driver, where that is for another kernel and the kernel has heaps:
    memory comes from those then, and no module is needed.
    """
    if images.module is None or not {Feature.AGENT, Feature.HEAPS} <= images.features:
        return images
    with contextlib.suppress(UserError):
        check_module(images.module, images.release, images.kernel)
        return images
    # A heap for each area: which area is asked for can be said, as the driver's parameter says it.
    features = images.features | {Feature.HEAP_ONLY, Feature.MODULE_AREAS}
    return dataclasses.replace(images, module=None, features=features)


def same_file(first: Path, second: Path) -> bool:
    """Whether two files have the same content. False where one cannot be read."""
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _of_kernel(kernel: Path) -> dict[str, object]:
    """What is known of a kernel of the user's alone."""
    return {"vmlinux": None, "system_map": None, "release": kernel_release(kernel)}


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
    root = images.disk or images.initrd
    there: str | None = None
    if Feature.AGENT not in images.features and root is not None:
        there = installed_driver(root, release)
    if images.module is not None and ("module" in images.foreign or not there):
        check_module(images.module, release, images.kernel)
    elif images.module is None and there == "":
        raise UserError(
            f"the root image {root} has no driver in /lib/modules/{release} (no module there takes"
            f" {MARKS[0]} or makes /dev/{MARKS[1]}), and no module was given: use --module FILE"
            " (pytest: --qemu-module)"
        )
    if images.app is not None:
        # Our root image has no libraries; another may have.
        static = Feature.AGENT in images.features
        _check_application(images.app, "arm-linux-gnueabihf-gcc -static" if static else "")


def check_room(images: ImageSet, area: str, memory_mib: int) -> None:
    """Raises `UserError` where no place that the device tree has for an area is in RAM of so many
    MiB.
    """
    nodes = read_dtb(_read(images.dtb), str(images.dtb)).cma_nodes
    windows = [window for node in nodes if node.name == area for window in node.windows]
    end = RAM_START + memory_mib * MIB
    if windows and all(window.start >= end for window in windows):
        places = ", ".join(map(str, windows))
        least = -(-(min(window.end for window in windows) - RAM_START) // MIB)
        raise UserError(
            f"--memory {memory_mib}: RAM ends at {end - 1:#x}, and {area} is to be in {places};"
            f" {least} or more has room for it"
        )


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _check_application(path: Path, how: str) -> None:
    """`how`: to link it statically; empty where it may need libraries."""
    elf = arm_elf(path, _read(path), "application")
    if how and any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
        raise UserError(f"{path} is linked dynamically; build it with {how}")
