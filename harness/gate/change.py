# SPDX-License-Identifier: MIT
"""What the patches in a built tree changed, for `harness.gate.selection`."""

from __future__ import annotations

from harness.builders.changed_code import changed_code
from harness.builders.patch_tree import PatchTree
from harness.gate.selection import PatchChange
from harness.host.project import IMAGES
from harness.imageset.model import ImageSet


def change_in(tree: PatchTree, base: ImageSet, patched: ImageSet) -> PatchChange:
    """The change of `patched`, the last that was built in `tree`, against `base`, the same tree
    without patches. To be asked before the tree is restored.
    """
    built = tree.origin / "obj", tree.kernel.obj
    code = changed_code(tree.touched, tree.steps, built, (base, patched))

    def source(path: str) -> list[str]:
        root = IMAGES.parent if path.startswith("images/") else tree.origin
        try:
            return (root / path).read_text(errors="replace").splitlines()
        except OSError:
            return []

    return PatchChange(tree.diff(), code, source)
