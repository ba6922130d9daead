# SPDX-License-Identifier: MIT
"""Builds ``cma.ko`` against a built kernel, in a copy: the checkout is never written."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.build import tools
from harness.build.cache import Cache, Key, Room
from harness.build.kernel import KernelTree, file_digest, make_words
from harness.build.process import Tools
from harness.build.progress import Progress


def module_key(source: Path, kernel_slug: str) -> Key:
    """Key of the module in the directory `source` for one kernel."""
    inputs = {path.name: file_digest(path) for path in sorted(source.iterdir()) if path.is_file()}
    return Key("module", {**inputs, "kernel": kernel_slug})


def build_module(
    cache: Cache,
    kernel: KernelTree,
    kernel_slug: str,
    progress: Progress,
    source: Path = tools.IMAGES / "module",
) -> tuple[Key, Path]:
    """``cma.ko`` from the cache, or built. Raises `BuildError` with the compiler's first error."""
    key = module_key(source, kernel_slug)

    def build(room: Room) -> None:
        progress.say(f"building cma.ko for {kernel.release}: {cache.why(key)}")
        work = room.tmp / "module"
        work.mkdir()
        for path in source.iterdir():
            if path.is_file():
                shutil.copy(path, work)
        argv = [*make_words(kernel.tree), f"M={work}", "modules"]
        Tools(room, cache.compiler_environment).run(argv, "building cma.ko")
        shutil.copy(work / "cma.ko", room.out)

    return key, cache.entry(key, build) / "cma.ko"
