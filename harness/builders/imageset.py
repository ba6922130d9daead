# SPDX-License-Identifier: MIT
"""Puts an image set together: every part from the cache, or built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from harness.builders import apt, sshd, userland
from harness.builders.cache import BuildDirectory, Cache, Key, cache_root
from harness.builders.dtb import NAME, compile_dts
from harness.builders.kernel import KernelTree, Recipe, build_kernel, file_digest
from harness.builders.kernel_source import DEFAULT, KernelSource, resolve, with_variant
from harness.builders.module import CALLS, build_module
from harness.builders.rootfs import build_rootfs
from harness.builders.variant import unpatched
from harness.errors import HarnessError
from harness.host import project
from harness.host.progress import LazyProgress, Progress
from harness.imageset import preflight
from harness.imageset.features import OURS
from harness.imageset.model import APP, ImageSet
from harness.imageset.zimage import kernel_facts

VERSIONS = (DEFAULT, "6.12", "7.3")
"""The kernels that the project's own tests run on."""


def build_image_set(
    kernel: str | Path | KernelSource | None = None,
    progress: Progress | None = None,
    cache: Cache | None = None,
    recipe: Recipe | None = None,
    variant: str = "",
) -> ImageSet:
    """All files of one system under test, for a kernel version, a kernel tree, or the default;
    `variant` is one of ``images/kernel/variants``.

    Nothing is printed for what the cache has; `progress` says what has to be built, and why. The
    entries cannot be pruned before this process ends. Raises `UserError`, `BuildError`.
    """
    progress = progress or LazyProgress()
    cache = cache or Cache(say=progress.say)
    # What needs the network comes first: a machine without learns it before the long build.
    parts = rootfs_parts(cache, progress)
    source = with_variant(resolve(kernel, cache), variant)
    kernel_key, built = build_kernel(cache, source, recipe or Recipe.ours(), progress)
    _, dtb = build_dtb(cache, built, kernel_key.slug)
    module = build_module(cache, built, kernel_key.slug, progress)
    parts |= {"module": module, "calls": (module[0], module[1].with_name(CALLS))}
    _, initrd = build_rootfs(cache, built.release, parts)
    images_built = ImageSet(
        kernel=built.zimage,
        dtb=dtb,
        initrd=initrd,
        module=module[1],
        app=parts["app"][1],
        vmlinux=built.vmlinux,
        system_map=built.system_map,
        release=built.release,
        features=built.features | OURS,
    )
    return preflight.with_parts(images_built)


def build_unpatched(kernel: str | Path | KernelSource | None = None) -> ImageSet:
    """As `build_image_set`, with the kernel as its makers have it."""
    progress = LazyProgress()
    cache = Cache(say=progress.say)
    return unpatched(cache, build_image_set(kernel, progress, cache), progress)


def rootfs_parts(cache: Cache, progress: Progress) -> dict[str, tuple[Key, Path]]:
    """What the root image holds besides the module, by the names of its manifest."""
    busybox = userland.busybox(cache, userland.busybox_version(cache))
    dropbear, ssh = sshd.server(cache, sshd.versions(cache))
    return {
        "busybox": busybox,
        "app": userland.build_program(cache, APP, project.IMAGES / "app", progress),
        "agent": userland.build_program(cache, "agent", project.IMAGES / "agent", progress),
        "dropbear": (dropbear, ssh / "dropbear"),
        "libraries": (dropbear, ssh / "lib"),
    }


class _Missing(Exception):
    pass


class _Recorder(Cache):
    """Notes which entries are asked for, and builds none."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.offline = True
        self.slugs: set[str] = set()

    def entry(
        self,
        key: Key,
        build: Callable[[BuildDirectory], None],
        needs: int = 0,
        checked: Collection[str] | None = None,
    ) -> Path:
        path = self.find(key)
        if path is None:
            raise _Missing(key.slug)
        self.slugs.add(key.slug)
        return path


def current_slugs(cache: Cache) -> set[str]:
    """The entries that the project's kernels use with the sources as they are now."""
    recorder = _Recorder(cache.root)
    for version in VERSIONS:
        with contextlib.suppress(_Missing, HarnessError):
            build_image_set(version, cache=recorder)
    debs = {apt.deb_key(*pin).slug for pin in apt.pinned(cache).items()}
    return recorder.slugs | debs


def nearest_version(kernel: Path, asked: Sequence[str] = (DEFAULT,)) -> str:
    """The version whose image set has the parts that a given kernel needs: its modules are of no
    use to another.

    One of `asked` (the first, where none is the kernel's), or one that is in the cache.
    """
    release = kernel_facts(kernel).release
    for version in (*asked, *VERSIONS):
        if f"{release}.".startswith(f"{version}.") and (version in asked or _is_built(version)):
            return version
    return asked[0]


def _is_built(version: str) -> bool:
    with contextlib.suppress(_Missing, HarnessError):
        build_image_set(version, cache=_Recorder(cache_root()))
        return True
    return False


def build_dtb(cache: Cache, kernel: KernelTree, kernel_slug: str) -> tuple[Key, Path]:
    """The device tree of ``images/dts`` for one kernel."""
    source = project.IMAGES / "dts"
    inputs = {path.name: file_digest(path) for path in sorted(source.iterdir())}
    key = Key("dtb", {**inputs, "kernel": kernel_slug})

    def build(build_dir: BuildDirectory) -> None:
        content = compile_dts((source / NAME).read_text(), kernel.tree)
        (build_dir.out / NAME).with_suffix(".dtb").write_bytes(content)

    return key, (cache.entry(key, build) / NAME).with_suffix(".dtb")
