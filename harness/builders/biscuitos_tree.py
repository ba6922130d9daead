# SPDX-License-Identifier: MIT
"""A BiscuitOS output tree made from the project's own parts, to test what serves real ones.

It has what theirs have and ours lack: a kernel that drives the display, as ``vexpress_defconfig``
does, and lists its areas nowhere, a /dev that is mdev's, a root image of ext4 on virtio-blk, one
serial line for the kernel, a login shell and "press Enter".
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from harness.builders import additions, userland
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.cpio import Member
from harness.builders.dtb import compile_dts
from harness.builders.kernel import file_digest
from harness.builders.module import CALLS
from harness.builders.process import ToolRunner
from harness.builders.rootfs import MANIFEST, read_manifest
from harness.builders.variant import build_defconfig
from harness.host import project
from harness.host.programs import path_of
from harness.host.progress import Progress
from harness.imageset.model import APP, ImageSet

SOURCE = project.IMAGES / "biscuitos"
BOARD = "vexpress-v2p-ca9.dts"
IMAGE_SIZE = "16M"
_OURS = (
    "sbin/agent",
    "usr/sbin/dropbear",
    "lib/arm-linux",
    "lib/ld-linux",
    "etc/init.d/ssh",
    "etc/dropbear",
    "run/",
    "root/.ssh",
)
_REPLACED = {"etc/inittab": "inittab", "etc/init.d/rcS": "rcS", "etc/fstab": "fstab"}
_NODES = ("console c 5 1", "null c 1 3")
"""In ``/dev`` of the root image; ``mdev`` makes the others at boot."""


def build_tree(cache: Cache, images: ImageSet, progress: Progress, *, old: bool = False) -> Path:
    """The directory that holds ``BiscuitOS/output/…``, for the sources of `images`' kernel.

    `old`: the older layout, ``BiscuitOS.img`` at the top, and neither module nor application
    installed in the root image: both are in ``package/`` alone.
    """
    # Since 2020 BiscuitOS's own scripts call it so.
    module = "cma.ko" if old else "CMA_area_module-0.0.1.ko"
    sources = images.kernel.parents[4]  # SOURCES/obj/arch/arm/boot/zImage
    images = build_kernel(cache, images, progress)
    busybox = userland.busybox(cache, userland.busybox_version(cache))
    own = {path.name: file_digest(path) for path in sorted(SOURCE.iterdir())}
    rootfs = {f"rootfs {p.name}": file_digest(p) for p in sorted(MANIFEST.parent.iterdir())}
    parts = {"kernel": images.digest(), "busybox": busybox[0].slug, "layout": f"{old} {module}"}
    key = Key("biscuitos-tree", {**own, **rootfs, **parts})

    def build(build_dir: BuildDirectory) -> None:
        top = build_dir.out / "BiscuitOS" / "output" / f"linux-{images.release}-arm32"
        dtb = compile_dts((SOURCE / BOARD).read_text(), sources)
        _install_kernel(images, dtb, top / "linux" / "linux")
        _install_packages(images, top / "package", module)
        place = "BiscuitOS.img" if old else "Hardware/BiscuitOS.img"
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        # What the manifest names of ours beyond that is left out again.
        files = dict.fromkeys(("busybox", "agent", "dropbear", "calls"), busybox[1])
        files["libraries"] = busybox[1].parent
        files |= {"app": _given(images.app), "module": _given(images.module)}
        members = _members(read_manifest(MANIFEST, images.release, files), module, not old)
        root = top / "rootfs" / "rootfs"
        _unpack(members, root)
        words = [path_of("mke2fs"), "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(root)]
        runner = ToolRunner(build_dir)
        runner.run([*words, str(top / place), IMAGE_SIZE], "packing the root image")
        # Only root may make device nodes on the host.
        nodes = build_dir.tmp / "nodes"
        nodes.write_text("cd /dev\n" + "".join(f"mknod {node}\n" for node in _NODES))
        runner.run(
            [path_of("debugfs"), "-w", "-f", nodes, top / place], "making the root image's nodes"
        )
        script = (SOURCE / "RunBiscuitOS.sh").read_text().replace("@IMAGE@", place)
        (top / "RunBiscuitOS.sh").write_text(script)

    return cache.entry(key, build)


def build_kernel(cache: Cache, images: ImageSet, progress: Progress) -> ImageSet:
    """`images` with the kernel of such a tree, and the driver for it. Raises `BuildError`."""
    return build_defconfig(cache, images, SOURCE / "kernel.config", progress, [additions.LISTING])


def _given(path: Path | None) -> Path:
    assert path is not None
    return path


def _install_kernel(kernel: ImageSet, dtb: bytes, to: Path) -> None:
    boot = to / "arch" / "arm" / "boot"
    (boot / "dts").mkdir(parents=True)
    shutil.copy2(kernel.kernel, boot / "zImage")
    (boot / "dts" / BOARD).with_suffix(".dtb").write_bytes(dtb)
    for name in ("vmlinux", "System.map", ".config"):
        shutil.copy2(kernel.kernel.parent / name, to)


def _install_packages(images: ImageSet, to: Path, module: str) -> None:
    package = "CMA_area_module-0.0.1"
    for name, file, called in ((package, images.module, module), (APP, images.app, APP)):
        place = to / name / name
        place.mkdir(parents=True)
        shutil.copy2(_given(file), place / called)


def _members(members: Iterable[Member], module: str, installed: bool) -> list[Member]:
    """The members of our root image, less agent and ssh server, with BiscuitOS's init scripts."""
    result = []
    for member in members:
        if member.path.startswith(_OURS) or member.path.endswith(f"/{CALLS}"):
            continue
        if not installed and member.path.endswith((f"/{APP}", "/cma.ko")):
            continue
        if member.path.endswith("/cma.ko"):
            place = member.path.rpartition("/")[0]
            member = Member(f"{place}/{module}", member.mode, member.data)
        if member.path in _REPLACED:
            data = (SOURCE / _REPLACED[member.path]).read_bytes()
            member = Member(member.path, member.mode, data)
        result.append(member)
    return result


def _unpack(members: Iterable[Member], root: Path) -> None:
    """Writes the members below `root`, without device nodes."""
    root.mkdir(parents=True)
    for member in members:
        path = root / member.path
        if stat.S_ISDIR(member.mode):
            path.mkdir()
        elif stat.S_ISLNK(member.mode):
            path.symlink_to(member.data.decode())
            continue
        elif stat.S_ISREG(member.mode):
            path.write_bytes(member.data)
        else:
            continue
        path.chmod(stat.S_IMODE(member.mode))
