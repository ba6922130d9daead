# SPDX-License-Identifier: MIT
"""Finds the system that a BiscuitOS output tree holds, and takes it as it is.

The tree is ``BiscuitOS/output/linux-VERSION-arm32/`` with ``linux/linux`` (the kernel's build
tree), ``Hardware/BiscuitOS.img`` (older: ``BiscuitOS.img``), ``package/NAME-VERSION/…`` and
``RunBiscuitOS.sh``, which starts QEMU. Nothing in it is written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.board import DEFAULT_MEMORY, DISK_APPEND
from harness.errors import UserError
from harness.host.userpath import expanded
from harness.imageset import kconfig
from harness.imageset.features import Feature, of_config
from harness.imageset.model import APP, ImageSet
from harness.imageset.module import pick_driver
from harness.imageset.preflight import has_two_areas, with_parts
from harness.imageset.ramdisk import ramdisk_append
from harness.imageset.rootimage import check_disk, check_initrd, head, installed_driver, is_ext
from harness.imageset.runscript import Launch, read_script
from harness.imageset.zimage import check_kernel, kernel_facts

RESTART = "panic=-1"
"""Added in any case: a panic ends QEMU instead of hanging it."""
IMAGES = ("Hardware/BiscuitOS.img", "BiscuitOS.img", "ramdisk.img", "Hardware/rootfs.img")
DTBS = ("arm/vexpress-v2p-ca9.dtb", "vexpress-v2p-ca9.dtb")
"""Below ``arch/arm/boot/dts``; in ``arm/`` since 6.5."""
SCRIPT = "RunBiscuitOS.sh"
FREEZE = "Freeze.img"
"""A second disk that BiscuitOS gives its systems, for files of the user's."""
_OUTPUT = re.compile(r"linux-[^/]*-arm32")


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
    notes: tuple[str, ...] = ()
    """What could not be known of the script, or is not taken over, a line each."""
    given: frozenset[str] = frozenset()
    """The parts that are not the tree's."""

    def said(self) -> list[str]:
        """Which files are taken, one line each."""
        kind = "ramdisk" if self.ramdisk else "disk"
        lines = [f"BiscuitOS tree {self.root}:"]
        for name, path in (("kernel", self.kernel), ("dtb", self.dtb), (kind, self.image)):
            lines.append(f"  {name:<8}{self._place(path)}")
        lines.append(f"  module  {self._module()}")
        app = self._place(self.app) if self.app else "not in package/: the root image's own"
        lines.append(f"  app     {app}")
        lines.append(f"  append  {self.append}")
        lines.append(f"  memory  {self.memory_mib} MiB")
        lines += [f"  note    {note}" for note in self.notes]
        return lines

    def _module(self) -> str:
        """The file that is loaded: the root image's own, unless there is none, or one is given."""
        if "module" not in self.given:
            there = installed_driver(self.image, kernel_facts(self.kernel).release)
            if there:
                return f"{there} of the root image"
        if self.module is None:
            return "not in package/: the root image's own"
        return self._place(self.module)

    def _place(self, path: Path) -> str:
        """Relative to the tree, unless it was given from elsewhere."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def image_set(self) -> ImageSet:
        """The tree as an image set. Raises `UserError` for files that cannot be read."""
        check_kernel(self.kernel)
        build = self.root / "linux" / "linux"
        config = build / ".config"
        built_here = self.kernel.is_relative_to(build)
        facts = kernel_facts(self.kernel)
        features = facts.features
        if not facts.known and config.is_file():
            # Only where the kernel itself does not tell: this may be of another build.
            text = _read(config).decode(errors="replace")
            features = of_config(kconfig.parse(text), facts.release)
        if has_two_areas(self.dtb):
            features |= {Feature.TWO_AREAS}
        images = ImageSet(
            kernel=self.kernel,
            dtb=self.dtb,
            initrd=self.image if self.ramdisk else None,
            disk=None if self.ramdisk else self.image,
            module=self.module,
            app=self.app,
            vmlinux=_there(build / "vmlinux") if built_here else None,
            system_map=_there(build / "System.map") if built_here else None,
            append=self.append,
            release=facts.release,
            features=features,
        )
        return with_parts(images)


def find(directory: Path, given: Mapping[str, Path] | None = None) -> BiscuitOS:
    """The system in `directory`: the output tree itself, or a directory above that has just one.

    `given` are parts that the user brings instead (`harness.imageset.model.PARTS`): the tree need
    not have them. Raises `UserError` that says what is missing or cannot be used, and where it was
    looked for.
    """
    try:
        return _find(directory, given or {})
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error


def _find(directory: Path, given: Mapping[str, Path]) -> BiscuitOS:
    root = _output_tree(directory)
    script = root / SCRIPT
    run = read_script(script) if script.is_file() else Launch("", None)
    notes = [f"{SCRIPT}: {note}" for note in run.notes]
    boot = root / "linux" / "linux" / "arch" / "arm" / "boot"
    kernel = given.get("kernel") or _started(root, run.kernel, "-kernel", notes)
    kernel = kernel or _one_of(
        root, [boot / "zImage"], "kernel", "build it with make zImage, or give --kernel FILE"
    )
    dtb = given.get("dtb") or _started(root, run.dtb, "-dtb", notes) or _dtb(root, boot / "dts")
    ours = not {"disk", "initrd"} & given.keys()
    image = (given.get("disk") or given.get("initrd")) or _image(root, run, notes)
    loaded = bool(run.initrd) and not any(_is_root(disk) for disk in run.disks)
    ramdisk = "disk" not in given and ("initrd" in given or loaded or not is_ext(head(image)))
    (check_initrd if ramdisk else check_disk)(image)
    append = (ours and run.append) or (ramdisk_append(image) if ramdisk else DISK_APPEND)
    if run.append and not ours:
        notes.append(f"{SCRIPT}: its command line is for its own root image, and is not taken")
    return BiscuitOS(
        root=root,
        kernel=kernel,
        dtb=dtb,
        image=image,
        ramdisk=ramdisk,
        module=given.get("module") or _driver(root),
        app=given.get("app") or _package(root, APP),
        append=append if "panic=" in append else f"{append} {RESTART}",
        memory_mib=run.memory_mib or DEFAULT_MEMORY,
        notes=tuple(notes),
        given=frozenset(given),
    )


def _started(root: Path, path: Path | None, option: str, notes: list[str]) -> Path | None:
    """The file that the script starts QEMU with, in this tree; None where it is not there.

    The script has absolute paths, and a tree may have been moved or copied since it was written.
    """
    if path is None:
        return None
    for number, part in enumerate(path.parts):
        moved = root.joinpath(*path.parts[number + 1 :])
        if _OUTPUT.fullmatch(part) and moved.is_file():
            return moved
    if path.is_absolute() and path.is_file():
        return path
    notes.append(f"{SCRIPT}: {option} {path} is not there; what is built in the tree is taken")
    return None


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _is_root(disk: Path) -> bool:
    return disk.name in {Path(name).name for name in IMAGES}


def _image(root: Path, run: Launch, notes: list[str]) -> Path:
    """The root image: what the script gives QEMU for it, or what has its usual place."""
    disks: Sequence[Path] = [disk for disk in run.disks if disk.name != FREEZE]
    named = [disk for disk in disks if _is_root(disk)] or [*filter(None, [run.initrd]), *disks]
    if named:
        option = "-initrd" if named[0] == run.initrd else "-drive"
        image = _started(root, named[0], option, notes)
        if image is not None:
            return image
    return _one_of(
        root,
        [root / name for name in IMAGES],
        "root image",
        "pack it (make, in older trees RunBiscuitOS.sh pack), or give --disk FILE",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _output_tree(directory: Path) -> Path:
    directory = expanded(directory).absolute()
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    _check_links(directory)
    if (directory / "linux" / "linux").is_dir():
        return directory
    patterns = ("linux-*-arm32", "output/linux-*-arm32", "BiscuitOS/output/linux-*-arm32")
    found = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    if len(found) == 1:
        _check_links(found[0])
        return found[0]
    if found:
        names = ", ".join(str(path) for path in found)
        raise UserError(f"{directory} has several output trees, name one of them: {names}")
    raise UserError(
        f"{directory} is no BiscuitOS tree: it has neither linux/linux nor one of"
        f" {', '.join(patterns)}"
    )


def _check_links(tree: Path) -> None:
    """Raises `UserError` where the link to the kernel's tree leads nowhere."""
    link = tree / "linux" / "linux"
    if link.is_symlink() and not link.exists():
        raise UserError(
            f"{link} is a link to {link.readlink()}, which is not there: BiscuitOS makes absolute"
            " links, and they break when a tree is moved. Point it at the kernel's tree again:"
            f" ln -sfn KERNEL_TREE {link}"
        )


def _one_of(root: Path, paths: list[Path], what: str, how: str) -> Path:
    for path in paths:
        if path.is_file():
            return path
    names = " nor ".join(str(path.relative_to(root)) for path in paths)
    raise UserError(f"{root} has no {what}: there is no {names}; {how}")


def _package(root: Path, name: str) -> Path | None:
    """A file built below ``package/``: the newest, where there are several."""
    return max(_files(root, name), key=_built, default=None)


def _driver(root: Path) -> Path | None:
    """The driver below ``package/``, whatever it is called: the newest of several."""
    modules = sorted(_files(root, "*.ko"), key=_built)
    return pick_driver((path, _read(path)) for path in modules)


def _files(root: Path, pattern: str) -> Iterator[Path]:
    return (path for path in (root / "package").glob(f"*/**/{pattern}") if path.is_file())


def _built(path: Path) -> float:
    return path.stat().st_mtime


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
