# SPDX-License-Identifier: MIT
"""Finds the system that a BiscuitOS output tree holds, and takes it as it is.

The tree is ``BiscuitOS/output/linux-VERSION-arm32/`` with ``linux/linux`` (the kernel's build
tree), ``Hardware/BiscuitOS.img`` (older: ``BiscuitOS.img``), ``package/NAME-VERSION/…`` and
``RunBiscuitOS.sh``, which has QEMU's arguments. Nothing in it is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.board import DEFAULT_MEMORY, DISK_APPEND
from harness.errors import UserError
from harness.imageset import kconfig
from harness.imageset.features import Feature, of_config
from harness.imageset.model import APP, ImageSet
from harness.imageset.preflight import has_two_areas, is_ext, with_parts
from harness.imageset.ramdisk import ramdisk_append
from harness.imageset.runscript import RunScript
from harness.imageset.zimage import check_kernel, kernel_facts

RESTART = "panic=-1"
"""Added in any case: a panic ends QEMU instead of hanging it."""
MODULE = "cma.ko"
IMAGES = ("Hardware/BiscuitOS.img", "BiscuitOS.img", "ramdisk.img", "Hardware/rootfs.img")
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
            lines.append(f"  {name:<8}{self._place(path)}")
        for name, part in (("module", self.module), ("app", self.app)):
            where = self._place(part) if part else "not in package/: the root image's own"
            lines.append(f"  {name:<8}{where}")
        lines.append(f"  append  {self.append}")
        lines.append(f"  memory  {self.memory_mib} MiB")
        return lines

    def _place(self, path: Path) -> str:
        """Relative to the tree, unless it was given from elsewhere."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def image_set(self) -> ImageSet:
        """The tree as an image set. Raises `UserError` for files that cannot be read."""
        check_kernel(self.kernel)
        build = self.root / "linux" / "linux"
        config = build / ".config"
        facts = kernel_facts(self.kernel)
        features = facts.features
        if not facts.known and config.is_file():
            # Only where the kernel itself does not tell: this may be of another build.
            features = of_config(kconfig.parse(config.read_text(errors="replace")))
        if has_two_areas(self.dtb):
            features |= {Feature.TWO_AREAS}
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
            release=facts.release,
            features=features,
        )
        return with_parts(images)


def find(directory: Path, given: Mapping[str, Path] | None = None) -> BiscuitOS:
    """The system in `directory`: the output tree itself, or a directory above that has just one.

    `given` are parts that the user brings instead (`harness.imageset.model.PARTS`): the tree need
    not have them. Raises `UserError` that says what is missing, and where it was looked for.
    """
    given = given or {}
    root = _output_tree(directory)
    boot = root / "linux" / "linux" / "arch" / "arm" / "boot"
    kernel = given.get("kernel") or _one_of(
        root, [boot / "zImage"], "kernel", "build it with make zImage, or give --kernel FILE"
    )
    dtb = given.get("dtb") or _dtb(root, boot / "dts")
    image = (given.get("disk") or given.get("initrd")) or _one_of(
        root,
        [root / name for name in IMAGES],
        "root image",
        "pack it (make, in older trees RunBiscuitOS.sh pack), or give --disk FILE",
    )
    script = _there(root / "RunBiscuitOS.sh")
    run = RunScript(script.read_text(errors="replace") if script else "")
    ours = not {"disk", "initrd"} & given.keys()
    ramdisk = "disk" not in given and ("initrd" in given or run.ramdisk or not _is_disk(image))
    append = (ours and run.append) or (ramdisk_append(image) if ramdisk else DISK_APPEND)
    return BiscuitOS(
        root=root,
        kernel=kernel,
        dtb=dtb,
        image=image,
        ramdisk=ramdisk,
        module=given.get("module") or _package(root, MODULE),
        app=given.get("app") or _package(root, APP),
        append=append if "panic=" in append else f"{append} {RESTART}",
        memory_mib=run.memory_mib or DEFAULT_MEMORY,
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


def _is_disk(image: Path) -> bool:
    with image.open("rb") as file:
        # What is compressed, or an initramfs, is nothing that a disk could be.
        return is_ext(file.read(2048))


def _dtb(root: Path, dts: Path) -> Path:
    """The board's device tree. Where the build left one in each place, which is taken is not for
    us to guess.
    """
    paths = [dts / name for name in DTBS]
    found = [path for path in paths if path.is_file()]
    if len(found) > 1 and len({path.read_bytes() for path in found}) > 1:
        names = " and ".join(str(path.relative_to(root)) for path in found)
        raise UserError(
            f"{root} has two device trees that differ, {names}: remove the old one, or give --dtb"
            " FILE"
        )
    return _one_of(root, paths, "device tree", "build it with make dtbs, or give --dtb FILE")
