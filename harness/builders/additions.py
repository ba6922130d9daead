# SPDX-License-Identifier: MIT
"""The files that our kernels have beside the tree's own; no line of the tree's own changes.

``mm/Kbuild`` hooks them in, because kbuild takes it before ``mm/Makefile`` (Documentation/kbuild/
makefiles.rst). Which functions and exports the tree has itself, make finds out at each build.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from harness.errors import UserError

LISTING = "mm/harness/iomem.c"
"""What lists the areas in ``/proc/iomem``."""
# Every tree defines the allocator; ours are the lookups, and the exports of both.
_TREES = re.compile(r"-DTREE_(?:EXPORTS_|DEFINES_(?!dma_))(\w+)")


def files(root: Path | None) -> list[tuple[str, Path]]:
    """Each file below `root`, by its path in a kernel tree; none for None."""
    if root is None:
        return []
    found = (path for path in root.rglob("*") if path.is_file())
    return sorted((str(path.relative_to(root)), path) for path in found)


def lay(root: Path | None, tree: Path) -> None:
    """Copies what is below `root` into the kernel tree `tree`.

    Raises `UserError` where the tree has a file of another content there.
    """
    for name, path in files(root):
        to = tree / name
        if to.exists() and to.read_bytes() != path.read_bytes():
            raise UserError(f"this kernel tree has a file {name} of its own, where ours would be")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


def lists_areas(root: Path | None) -> bool:
    """Whether a kernel with the additions in `root` lists its areas in ``/proc/iomem``."""
    return root is not None and (root / LISTING).is_file()


def of_the_tree(obj: Path) -> list[str]:
    """The functions that a built tree defines or exports itself; `obj` is its build directory."""
    found: set[str] = set()
    for path in (obj / "mm" / "harness").glob(".*.o.cmd"):
        with contextlib.suppress(OSError):
            found |= set(_TREES.findall(path.read_text(errors="replace")))
    return sorted(found)
