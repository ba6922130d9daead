# SPDX-License-Identifier: MIT
"""Builds ``cma.ko`` (with ``cma_calls.ko`` for tests), or a user's module, against a built kernel.

They are built in a copy: their sources are never written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.kernel import KernelTree, file_digest, make_words
from harness.builders.process import ToolRunner
from harness.errors import BuildError
from harness.host import project
from harness.host.progress import Progress

OURS = "cma"
"""The name of the driver's module."""
CALLS = "cma_calls.ko"
"""The module beside the driver that calls the allocator as a test says."""


def module_key(source: Path, kernel_slug: str, name: str = OURS) -> Key:
    """Key of the module in the directory `source` for one kernel."""
    inputs = {path.name: file_digest(path) for path in sorted(source.iterdir()) if path.is_file()}
    return Key("module" if name == OURS else f"module-{name}", {**inputs, "kernel": kernel_slug})


def build_module(
    cache: Cache,
    kernel: KernelTree,
    kernel_slug: str,
    progress: Progress,
    source: Path = project.IMAGES / "module",
    name: str = OURS,
) -> tuple[Key, Path]:
    """``NAME.ko`` from the cache, or built. Raises `BuildError` with the compiler's first error."""
    key = module_key(source, kernel_slug, name)

    def build(build_dir: BuildDirectory) -> None:
        progress.say(f"building {name}.ko for {kernel.release}: {cache.why(key)}")
        make_module(ToolRunner(build_dir, cache.compiler_environment), kernel.tree, source, name)

    return key, cache.entry(key, build) / f"{name}.ko"


def make_module(
    runner: ToolRunner, tree: Path, source: Path = project.IMAGES / "module", name: str = OURS
) -> None:
    """Makes ``NAME.ko`` for the kernel that is built in `tree`, into the runner's output."""
    work = runner.build_dir.tmp / "module"
    work.mkdir()
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, work)
    try:
        runner.run([*make_words(tree), f"M={work}", "modules"], f"building {name}.ko")
    except BuildError as error:
        # It was built in a copy; who reads the message has the sources.
        raise BuildError(str(error).replace(f"{work}/", f"{source}/")) from None
    for built in (f"{name}.ko", *([CALLS] if name == OURS else [])):
        shutil.copy(work / built, runner.build_dir.out)
