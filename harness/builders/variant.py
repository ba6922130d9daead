# SPDX-License-Identifier: MIT
"""Kernels of the same sources as a built one with other options: made from a copy of its tree."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.builders import additions
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.kernel import (
    KernelTree,
    Recipe,
    configure,
    copy_sources,
    copy_tree,
    file_digest,
    make_kernel,
    make_words,
)
from harness.builders.module import OURS, make_module, module_key
from harness.builders.process import ToolRunner
from harness.errors import BuildError
from harness.host import project
from harness.host.progress import Progress
from harness.imageset import kconfig
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet

DIRECTORY = project.IMAGES / "kernel" / "config" / "variants"
COPY_BYTES = 900 * 2**20
"""A built kernel without its sources, which are links."""
_KEPT = ("arch/arm/boot/zImage", "vmlinux", "System.map", ".config")


def variants() -> list[str]:
    """The names of all variants: the fragments in ``images/kernel/config/variants``."""
    return sorted(path.stem for path in DIRECTORY.glob("*.config"))


def unpatched(cache: Cache, images: ImageSet, progress: Progress) -> ImageSet:
    """The image set with its kernel as its makers have it: without any of our additions.

    The driver is the same file: it takes what the kernel exports. Raises `BuildError`.
    """
    added = [name for name, _ in additions.files(Recipe.ours().additions)]
    plain = build_variant(cache, images, None, progress, added, "unpatched")
    return dataclasses.replace(plain, features=plain.features - {Feature.IOMEM_CMA})


def build_variant(
    cache: Cache,
    images: ImageSet,
    fragment: Path | None,
    progress: Progress,
    without: Sequence[str] = (),
    name: str = "",
) -> ImageSet:
    """The image set with its kernel built once more with `fragment` on top, and without some of our
    additions (see `additions`). `name` is by default the fragment's.

    Raises `BuildError`, also where the tree does not honour an option of the fragment.
    """
    name = name or (fragment.stem if fragment is not None else "variant")
    entry = images.kernel.parents[5]  # ENTRY/tree/obj/arch/arm/boot/zImage
    key = Key(
        f"variant-{name}",
        {"kernel": entry.name}
        | ({"fragment": file_digest(fragment)} if fragment is not None else {})
        | {f"without {addition}": "" for addition in without},
    )

    def build(build_dir: BuildDirectory) -> None:
        progress.say(f"building variant {name} of {entry.name}: {cache.why(key)}")
        runner = ToolRunner(build_dir, cache.compiler_environment)
        copy = copy_tree(
            KernelTree.of(entry),
            build_dir.tmp / "tree",
            lambda argv: runner.run([*argv], "copying"),
        )
        for addition in without:
            (copy.tree / addition).unlink(missing_ok=True)
        if fragment is not None:
            _configure(runner, copy, fragment)
        make_kernel(runner, copy.tree, progress, f"variant {name}")
        for kept in _KEPT:
            shutil.copy2(copy.obj / kept, build_dir.out)

    return _with_kernel(images, cache.entry(key, build, needs=COPY_BYTES))


def build_defconfig(
    cache: Cache,
    images: ImageSet,
    fragment: Path,
    progress: Progress,
    without: Sequence[str] = (),
) -> ImageSet:
    """The image set with its kernel configured anew, as its users do: the whole of the tree's own
    ``vexpress_defconfig`` and `fragment`, with nothing of our configuration. The driver is made for
    it too, since the kernel's structures go by its options; the root image stays as it is.

    `without` as in `build_variant`. Raises `BuildError`, also where the tree does not honour an
    option of the fragment.
    """
    entry = images.kernel.parents[5]  # as in `build_variant`
    driver = module_key(project.IMAGES / "module", entry.name)
    key = Key(
        "defconfig",
        {"kernel": entry.name, "fragment": file_digest(fragment), "driver": driver.slug}
        | {f"without {addition}": "" for addition in without},
    )

    def build(build_dir: BuildDirectory) -> None:
        progress.say(f"building vexpress_defconfig of {entry.name}: {cache.why(key)}")
        runner = ToolRunner(build_dir, cache.compiler_environment)
        tree = build_dir.tmp / "tree"
        copy_sources(KernelTree.of(entry), tree, lambda argv: runner.run([*argv], "copying"))
        for addition in without:
            (tree / addition).unlink(missing_ok=True)
        (tree / "obj").mkdir()
        _check_taken(fragment, configure(tree, [fragment], runner, progress))
        make_kernel(runner, tree, progress, "vexpress_defconfig", cache.root / "steps" / key.name)
        make_module(runner, tree)
        for kept in _KEPT:
            shutil.copy2(tree / "obj" / kept, build_dir.out)

    built = cache.entry(key, build, needs=COPY_BYTES)
    return dataclasses.replace(_with_kernel(images, built), module=built / f"{OURS}.ko")


def _with_kernel(images: ImageSet, built: Path) -> ImageSet:
    return dataclasses.replace(
        images,
        kernel=built / "zImage",
        vmlinux=built / "vmlinux",
        system_map=built / "System.map",
    )


def _configure(runner: ToolRunner, kernel: KernelTree, fragment: Path) -> None:
    with kernel.config.open("a") as file:
        file.write(fragment.read_text())
    runner.run([*make_words(kernel.tree), "olddefconfig"], "configuring the variant")
    _check_taken(fragment, kconfig.parse(kernel.config.read_text()))


def _check_taken(fragment: Path, config: Mapping[str, str]) -> None:
    """Raises `BuildError` where a kernel's configuration is not as the fragment wants it."""
    lost = kconfig.not_honoured(kconfig.parse(fragment.read_text()), config)
    if lost:
        raise BuildError(f"{fragment.name}: the kernel does not take {', '.join(lost)}")
