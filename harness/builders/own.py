# SPDX-License-Identifier: MIT
"""Builds what a repository brings for a kernel of the cache: module, program, device tree."""

from __future__ import annotations

import re
from pathlib import Path

from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.dtb import compile_dts
from harness.builders.kernel import KernelTree, file_digest
from harness.builders.module import build_module
from harness.builders.userland import build_program
from harness.errors import UserError
from harness.host.progress import LazyProgress
from harness.imageset.model import ImageSet

_OBJECT = re.compile(r"^\s*obj-m\s*[:+]?=\s*([\w-]+)\.o\s*$", re.MULTILINE)


class Builds:
    """Builds for the kernel of an image set. What is built is kept, by the content of its sources.

    Directories hold all sources themselves: what is below them is not looked at. Methods raise
    `BuildError` with the compiler's first error.
    """

    def __init__(self, images: ImageSet, cache: Cache | None = None) -> None:
        """Raises `UserError` where the kernel was given and not built here: nothing can be built
        for it without its tree.
        """
        self._progress = LazyProgress()
        self._cache = cache or Cache(say=self._progress.say)
        parents = images.kernel.parents
        self._entry = parents[5] if len(parents) > 5 else images.kernel  # ENTRY/tree/obj/arch/…
        if not (self._entry / "info.json").is_file():
            raise UserError(
                f"{images.kernel} was given as a file, and nothing can be built for it without its"
                " tree: give the tree (--qemu-kernel-source DIR), or a version"
            )
        self._kernel = KernelTree.of(self._entry)

    def module(self, directory: Path) -> Path:
        """The kernel module of a directory whose ``Kbuild`` has one line ``obj-m := NAME.o``."""
        _must_have(directory, "Kbuild", "a kernel module")
        named = _OBJECT.findall((directory / "Kbuild").read_text())
        if len(named) != 1:
            raise UserError(f"{directory / 'Kbuild'}: expected one line obj-m := NAME.o")
        slug = self._entry.name
        return build_module(self._cache, self._kernel, slug, self._progress, directory, named[0])[1]

    def program(self, directory: Path) -> Path:
        """A static program of the guest's from all C files of a directory; it has its name."""
        if not list(directory.glob("*.c")):
            raise UserError(f"{directory} has no C file to build a program from")
        return build_program(self._cache, directory.name, directory, self._progress)[1]

    def device_tree(self, source: Path) -> Path:
        """A device tree blob; `source` may include the kernel's ``vexpress-v2p-ca9.dts`` and the
        files beside it.
        """
        beside = sorted(source.parent.glob("*.dts*"))
        inputs = {path.name: file_digest(path) for path in beside}
        key = Key(f"dtb-{source.stem}", {**inputs, "kernel": self._entry.name})

        def build(build_dir: BuildDirectory) -> None:
            blob = compile_dts(source.read_text(), self._kernel.tree, source.parent)
            (build_dir.out / f"{source.stem}.dtb").write_bytes(blob)

        return self._cache.entry(key, build) / f"{source.stem}.dtb"


def _must_have(directory: Path, name: str, what: str) -> None:
    if not (directory / name).is_file():
        raise UserError(f"{directory} is not the directory of {what}: it has no {name}")
