# SPDX-License-Identifier: MIT
"""Finds the system that a BiscuitOS output tree holds, and takes it as it is.

The tree is ``BiscuitOS/output/linux-VERSION-arm32/`` with ``linux/linux`` (the kernel's build
tree), ``Hardware/BiscuitOS.img`` (older: ``BiscuitOS.img``), ``package/NAME-VERSION/…`` and
``RunBiscuitOS.sh``, which has QEMU's arguments. Nothing in it is written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from harness.build import kconfig
from harness.build.userland import APP
from harness.errors import UserError
from harness.images import DEFAULT_MEMORY, DISK_APPEND, RAMDISK_APPEND, ImageSet
from harness.preflight import TWO_AREAS, has_two_areas, is_ext, kernel_release, with_parts

RESTART = "panic=-1"
"""Added in any case: a panic ends QEMU instead of hanging it."""
MODULE = "cma.ko"
IMAGES = ("Hardware/BiscuitOS.img", "BiscuitOS.img", "Hardware/rootfs.img")
DTBS = ("arm/vexpress-v2p-ca9.dtb", "vexpress-v2p-ca9.dtb")
"""Below ``arch/arm/boot/dts``; in ``arm/`` since 6.5."""


@dataclasses.dataclass(frozen=True)
class BiscuitOS:
    """What was found. Paths are absolute; a part that is not there is None."""

    root: Path
    """``…/output/linux-VERSION-arm32``."""
    kernel: Path
    dtb: Path
    image: Path
    ramdisk: bool
    """Whether the image is loaded into RAM, and not a disk."""
    module: Path | None
    app: Path | None
    append: str
    memory_mib: int

    def said(self) -> list[str]:
        """Which files are taken, one line each."""
        kind = "ramdisk" if self.ramdisk else "disk"
        lines = [f"BiscuitOS tree {self.root}:"]
        for name, path in (("kernel", self.kernel), ("dtb", self.dtb), (kind, self.image)):
            lines.append(f"  {name:<8}{path.relative_to(self.root)}")
        for name, part in (("module", self.module), ("app", self.app)):
            where = part.relative_to(self.root) if part else "not in package/: the root image's own"
            lines.append(f"  {name:<8}{where}")
        lines.append(f"  append  {self.append}")
        return lines

    def image_set(self) -> ImageSet:
        """The tree as an image set. Raises `UserError` for files that cannot be read."""
        build = self.root / "linux" / "linux"
        config = build / ".config"
        features: set[str] = set()
        if config.is_file():
            features = kconfig.features(kconfig.parse(config.read_text(errors="replace")))
        if has_two_areas(self.dtb):
            features.add(TWO_AREAS)
        images = ImageSet(
            kernel=self.kernel,
            dtb=self.dtb,
            initrd=self.image if self.ramdisk else None,
            disk=None if self.ramdisk else self.image,
            module=self.module,
            app=self.app,
            vmlinux=_there(build / "vmlinux"),
            system_map=_there(build / "System.map"),
            append=self.append,
            release=kernel_release(self.kernel),
            features=frozenset(features),
        )
        return with_parts(images)


def find(directory: Path) -> BiscuitOS:
    """The system in `directory`: the output tree itself, or a directory above that has just one.

    Raises `UserError` that says what is missing, and where it was looked for.
    """
    root = _output_tree(directory)
    boot = root / "linux" / "linux" / "arch" / "arm" / "boot"
    kernel = _one_of(root, [boot / "zImage"], "kernel", "build it with make zImage")
    dtbs = [boot / "dts" / name for name in DTBS]
    dtb = _one_of(root, dtbs, "device tree", "build it with make dtbs")
    image = _one_of(root, [root / name for name in IMAGES], "root image", "pack it with make")
    script = _there(root / "RunBiscuitOS.sh")
    text = script.read_text(errors="replace") if script else ""
    ramdisk = _is_ramdisk(image, text)
    fallback = RAMDISK_APPEND if ramdisk else DISK_APPEND
    append = _script_value(text, "CMDLINE") or fallback
    memory = _script_value(text, "RAM_SIZE")
    return BiscuitOS(
        root=root,
        kernel=kernel,
        dtb=dtb,
        image=image,
        ramdisk=ramdisk,
        module=_package(root, MODULE),
        app=_package(root, APP),
        append=append if "panic=" in append else f"{append} {RESTART}",
        memory_mib=int(memory) if memory and memory.isdigit() else DEFAULT_MEMORY,
    )


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _output_tree(directory: Path) -> Path:
    directory = directory.expanduser().absolute()
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    if (directory / "linux" / "linux").is_dir():
        return directory
    patterns = ("linux-*-arm32", "output/linux-*-arm32", "BiscuitOS/output/linux-*-arm32")
    found = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path) for path in found)
        raise UserError(f"{directory} has several output trees, name one of them: {names}")
    raise UserError(
        f"{directory} is no BiscuitOS tree: it has neither linux/linux nor one of"
        f" {', '.join(patterns)}"
    )


def _one_of(root: Path, paths: list[Path], what: str, how: str) -> Path:
    for path in paths:
        if path.is_file():
            return path
    names = " nor ".join(str(path.relative_to(root)) for path in paths)
    raise UserError(f"{root} has no {what}: there is no {names}; {how}")


def _package(root: Path, name: str) -> Path | None:
    """A file built below ``package/``: the newest, where there are several."""
    found: Iterator[Path] = (root / "package").glob(f"*/**/{name}")
    return max((p for p in found if p.is_file()), key=lambda p: p.stat().st_mtime, default=None)


def _is_ramdisk(image: Path, script: str) -> bool:
    with image.open("rb") as file:
        if not is_ext(file.read(2048)):
            return True  # compressed, or an initramfs: nothing that a disk could be
    commands = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    return "-initrd" in commands and "virtio-blk" not in commands


def _script_value(script: str, name: str) -> str | None:
    """The last assignment of a shell variable without expansions in it."""
    pattern = rf"(?m)^\s*{name}=(?:\"([^\"\n]*)\"|'([^'\n]*)'|(\S+))"
    values = [a or b or c for a, b, c in re.findall(pattern, script)]
    plain = [value for value in values if "$" not in value and "`" not in value]
    return plain[-1] if plain else None
