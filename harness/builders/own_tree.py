# SPDX-License-Identifier: MIT
"""A commit of somebody's git tree as a patch tree's base: from the nearest kernel that is built.

Building a kernel takes minutes, and each commit would take as long and a gigabyte or two. So one
kernel is built for a tree (or is there already: Debian's of the same version), and the files in
which the commit differs are laid over it: make then builds those.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

from harness.builders import additions, overlay
from harness.builders.cache import BuildDirectory, Cache, Entry, Key
from harness.builders.kernel import (
    CHECKED,
    KernelTree,
    Recipe,
    build_kernel,
    kernel_key,
    say_not_taken,
)
from harness.builders.kernel_source import OLDEST, KernelSource, at_commit, makefile_version
from harness.builders.overlay import FileContent
from harness.builders.repository import Repository
from harness.errors import UserError
from harness.host.progress import Progress
from harness.plaintext import counted

NEAR = 1500
"""Files in which a commit may differ from a built kernel: with more, building anew is as fast."""
# What a built kernel's configuration was made from, and nobody looks at again.
_CONFIGURED_BY = "arch/arm/configs/vexpress_defconfig"


@dataclasses.dataclass(frozen=True)
class CommitTree:
    """The kernel at one commit of a git tree."""

    repository: Repository
    commit: str
    """Its full id."""

    @property
    def label(self) -> str:
        """A name for the tree, a file name: one for each work tree."""
        root = self.repository.root
        name = re.sub(r"[^\w.+-]", "_", root.name) or "tree"
        return f"{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"

    @property
    def version(self) -> tuple[int, int]:
        """Raises `UserError` for no kernel, or one that is too old."""
        root = self.repository.root
        found = makefile_version(self.repository.text(self.commit, "Makefile"), root)
        if found < OLDEST:
            raise UserError(f"{root} is Linux {found[0]}.{found[1]}; 5.0 is the oldest that works")
        return found

    def __str__(self) -> str:
        return f"{self.repository.root} at {self.commit[:12]}"


@dataclasses.dataclass(frozen=True)
class Anchor:
    """A built kernel, and what is to be laid over it to have the commit."""

    key: Key
    kernel: KernelTree
    laid: dict[str, FileContent | None]


def anchor(
    cache: Cache, tree: CommitTree, recipe: Recipe, progress: Progress, preferred: str = ""
) -> Anchor:
    """The built kernel for a commit: the one that this tree had before (`preferred`, a slug) or the
    nearest that the cache has, else built now. It is leased. Raises `UserError`, `BuildError`.
    """
    version = tree.version
    wanted = tree.repository.files(tree.commit)
    algorithm = tree.repository.algorithm
    overlay.check_additions(recipe.additions, wanted, algorithm)
    ours = {name for name, _ in additions.files(recipe.additions)}
    near: list[tuple[int, Entry, list[str]]] = []
    for entry in _candidates(cache, recipe, version, preferred):
        index = cache.directory("blobs") / f"{entry.slug}.json"
        have = overlay.indexed(entry.path / "tree", index, ours, algorithm)
        paths = [path for path in overlay.differing(have, wanted) if path not in ours]
        if len(paths) <= NEAR and _CONFIGURED_BY not in paths:
            near.append((len(paths), entry, paths))
            if entry.slug == preferred:
                break  # another would have to be copied first
    near.sort(key=lambda found: (found[1].slug != preferred, found[0]))
    for count, entry, paths in near:
        taken = _taken(cache, entry)
        if taken is None:
            continue
        say_not_taken(taken, recipe, progress)
        if count:
            progress.say(f"{tree}: {counted(count, 'file')} beside {entry.name}, which is built")
        laid = overlay.of_commit(tree.repository, wanted, paths)
        return Anchor(Key(entry.name, entry.inputs), taken, laid)
    source = dataclasses.replace(_source(tree), label=tree.label)
    key, kernel = build_kernel(cache, source, recipe, progress)
    return Anchor(key, kernel, {})


def _source(tree: CommitTree) -> KernelSource:
    repository = tree.repository
    return at_commit(repository.top, tree.commit, repository.prefix)


def _candidates(
    cache: Cache, recipe: Recipe, version: tuple[int, int], preferred: str
) -> list[Entry]:
    """The built kernels of this recipe and of the same version, `preferred` first."""
    nobody = KernelSource("", "", lambda tools, tree: None)
    wanted = {**kernel_key(nobody, recipe).inputs, "source": ""}
    found = []
    for entry in cache.ls():
        if not entry.name.startswith("kernel-") or {**entry.inputs, "source": ""} != wanted:
            continue
        try:
            makefile = (entry.path / "tree" / "Makefile").read_text(errors="replace")
            if makefile_version(makefile, entry.path) == version:
                found.append(entry)
        except (OSError, UserError):
            continue
    return sorted(found, key=lambda entry: entry.slug != preferred)


class _Gone(Exception):
    pass


def _taken(cache: Cache, entry: Entry) -> KernelTree | None:
    """Leases an entry; None where it is gone or damaged."""

    def build(build_dir: BuildDirectory) -> None:
        raise _Gone

    try:
        path = cache.entry(Key(entry.name, entry.inputs), build, checked=CHECKED)
    except _Gone:
        return None
    return KernelTree.of(path)
