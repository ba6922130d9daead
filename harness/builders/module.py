# SPDX-License-Identifier: MIT
"""Builds ``cma.ko``, and ``cma_calls.ko`` for tests, against a built kernel.

They are built in a copy: the checkout is never written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.kernel import KernelTree, file_digest, make_words
from harness.builders.process import ToolRunner
from harness.host import project
from harness.host.progress import Progress

CALLS = "cma_calls.ko"
"""The module beside the driver that calls the allocator as a test says."""


def module_key(source: Path, kernel_slug: str) -> Key:
    """Key of the module in the directory `source` for one kernel."""
    inputs = {path.name: file_digest(path) for path in sorted(source.iterdir()) if path.is_file()}
    return Key("module", {**inputs, "kernel": kernel_slug})


def build_module(
    cache: Cache,
    kernel: KernelTree,
    kernel_slug: str,
    progress: Progress,
    source: Path = project.IMAGES / "module",
) -> tuple[Key, Path]:
    """``cma.ko`` from the cache, or built. Raises `BuildError` with the compiler's first error."""
    key = module_key(source, kernel_slug)

    def build(build_dir: BuildDirectory) -> None:
        progress.say(f"building cma.ko for {kernel.release}: {cache.why(key)}")
        work = build_dir.tmp / "module"
        work.mkdir()
        for path in source.iterdir():
            if path.is_file():
                shutil.copy(path, work)
        argv = [*make_words(kernel.tree), f"M={work}", "modules"]
        ToolRunner(build_dir, cache.compiler_environment).run(argv, "building cma.ko")
        for name in ("cma.ko", CALLS):
            shutil.copy(work / name, build_dir.out)

    return key, cache.entry(key, build) / "cma.ko"
