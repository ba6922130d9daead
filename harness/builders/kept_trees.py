# SPDX-License-Identifier: MIT
"""The patch trees that a cache keeps: opened for one process at a time, listed, removed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.imageset import rootfs_parts
from harness.builders.kernel import TREE_BYTES, Recipe, build_kernel
from harness.builders.kernel_source import KernelSource, resolve
from harness.builders.manifest import disk_size
from harness.builders.mirror import remove
from harness.builders.module import CALLS, build_module
from harness.builders.own_tree import Anchor, CommitTree, anchor
from harness.builders.patch_tree import PatchTree, read_json
from harness.builders.watch import Limits
from harness.errors import UserError
from harness.host.locking import FileLock
from harness.host.progress import Progress

TREES = "HARNESS_TREES"
"""In the environment: how many trees of one kernel may be patched at once, 2 GB each; by default
1, and others wait."""


@dataclasses.dataclass(frozen=True)
class KeptTree:
    """A patch_tree's directory, as the cache has it."""

    path: Path
    kernel: str
    """Slug of the kernel that it is a copy of; empty where that is not known."""
    size: int
    """Bytes on the disk."""
    used: float
    """Seconds since the epoch."""


def kept_trees(cache: Cache) -> list[KeptTree]:
    """All of them, by name."""
    found = []
    for path in sorted((cache.root / "trees").glob("*")):
        record = path / "linux.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kernel = str(json.loads((path / "stamp.json").read_text())["kernel"])
            found.append(KeptTree(path, kernel, disk_size(path), record.stat().st_mtime))
            continue
        found.append(KeptTree(path, "", disk_size(path), path.stat().st_mtime))
    return found


def remove_tree(cache: Cache, tree: KeptTree) -> bool:
    """Removes a patch_tree's directory; False where another process is in it."""
    with FileLock(_lock_file(cache, tree.path.name)) as lock:
        if not lock.try_exclusive():
            return False
        remove(tree.path)
        lock.remove()
    return True


def _lock_file(cache: Cache, label: str) -> Path:
    return cache.directory("locks") / f"tree-{label}.lock"


Base = str | Path | KernelSource | CommitTree | None
"""What a patch tree can be opened for: see `resolve`, or a commit of somebody's git tree."""


def _free_tree(cache: Cache, label: str, progress: Progress) -> tuple[str, FileLock]:
    """The name of a tree that nobody is in, and the lock on it; waits where all are in use."""
    most = os.environ.get(TREES, "")
    others = [f"{label}@{number}" for number in range(2, int(most) + 1)] if most.isdigit() else []
    for name in (label, *others):
        lock = FileLock(_lock_file(cache, name))
        if lock.try_exclusive():
            return name, lock
        lock.close()
    lock = FileLock(_lock_file(cache, label))
    lock.exclusive(lambda who: progress.say(f"waiting for {who}, which is in tree {label}"))
    return label, lock


@contextlib.contextmanager
def open_patch_tree(
    cache: Cache,
    kernel: Base,
    progress: Progress,
    jobs: int,
    limits: Limits | None = None,
    config: Sequence[Path] = (),
) -> Iterator[PatchTree]:
    """The patch_tree of a kernel, clean, for this process alone; clean afterwards.

    `config` are fragments on top of our configuration. Waits where others have as many
    as there may be (`TREES`). Raises `UserError`, `BuildError`.
    """
    parts = rootfs_parts(cache, progress)
    trees = cache.directory("trees")
    trees.chmod(0o700)
    recipe = Recipe.ours().with_fragments(config)
    if isinstance(kernel, CommitTree):
        label = kernel.label
        given: Path | None = kernel.repository.top
        found = anchor(cache, kernel, recipe, progress, _stamped(trees / label))
    else:
        source = resolve(kernel, cache)
        label, given = source.label, source.repository
        found = Anchor(*build_kernel(cache, source, recipe, progress), {})
    module = build_module(cache, found.kernel, found.key.slug, progress)
    parts |= {"module": module, "calls": (module[0], module[1].with_name(CALLS))}
    name, lock = _free_tree(cache, label, progress)
    root = trees / name
    with lock:
        free = shutil.disk_usage(cache.root).free
        if not root.exists() and free < TREE_BYTES:
            raise UserError(f"{cache.root} has only {free >> 20} MiB free")
        patch_tree = PatchTree(
            root, found.kernel, found.key.slug, parts, lock, progress, cache, jobs, limits, given
        )
        patch_tree.prepare()
        try:
            if found.laid:
                patch_tree.lay(found.laid)
            yield patch_tree
        finally:
            if not patch_tree.left_as_it_is:
                patch_tree.clean()


def _stamped(root: Path) -> str:
    """The slug of the kernel that a patch tree is a copy of; empty for none."""
    content = read_json(root / "stamp.json")
    return str(content.get("kernel", "")) if isinstance(content, dict) else ""
