# SPDX-License-Identifier: MIT
"""What the patches in a built tree changed, for `harness.gate.selection`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.builders.changed_code import changed_code
from harness.builders.patch_tree import KERNEL, PatchTree
from harness.gate.selection import PatchChange
from harness.host.project import IMAGES
from harness.imageset.model import ImageSet


def change_in(tree: PatchTree, base: ImageSet, patched: ImageSet) -> PatchChange:
    """The change of `patched`, the last that was built in `tree`, against `base`, the same tree
    without patches. To be asked before the tree is restored.
    """
    code = changed_code(tree.touched, tree.steps, _built(tree), (base, patched))
    return PatchChange(tree.diff(), code, _source(tree))


def change_since(tree: PatchTree, origin: ImageSet, patched: ImageSet) -> PatchChange:
    """The same against `origin`, the kernel that the tree is a copy of, without what is laid over
    it: what the commits since then changed is part of it.
    """
    touched = [*tree.touched, *(f"{KERNEL}/{path}" for path in tree.laid)]
    code = changed_code(touched, tree.made, _built(tree), (origin, patched))
    return PatchChange(tree.diff_of_all(), code, _source(tree))


def _built(tree: PatchTree) -> tuple[Path, Path]:
    return tree.origin / "obj", tree.kernel.obj


def _source(tree: PatchTree) -> Callable[[str], list[str]]:
    def source(path: str) -> list[str]:
        root = IMAGES.parent if path.startswith("images/") else tree.origin
        try:
            return (root / path).read_text(errors="replace").splitlines()
        except OSError:
            return []

    return source
