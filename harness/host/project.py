# SPDX-License-Identifier: MIT
"""Where the project's own files are: in a checkout, or in an installed package.

An installed package carries ``images/``, the suite and the mutants as data below ``harness/data``,
in the places that they have in the checkout.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = not (_PACKAGE.parent / "images").is_dir()
"""Whether this is an installed package, and not a checkout."""
ROOT = _PACKAGE / "data" if INSTALLED else _PACKAGE.parent
"""The checkout, or what stands for it in an installed package; read only there."""
PYTHON_PATH = _PACKAGE.parent
"""The directory from which ``harness`` is imported."""
IMAGES = ROOT / "images"
SUITE = ROOT / "tests" / "cma"
"""The tests that a kernel must pass."""
_KERNEL = ("Kbuild", "Kconfig", "Makefile")


def is_kernel(path: Path) -> bool:
    """Whether a directory is the top of a kernel tree, as far as it is checked out."""
    return all((path / name).is_file() for name in _KERNEL)


def artifacts(here: Path, installed: bool = INSTALLED) -> Path:
    """Where what a run leaves goes, for a command that is given in the directory `here`.

    Never into a kernel tree, which is only read: there it goes to the user's state directory, one
    for each tree.
    """
    if not installed:
        return ROOT / "artifacts"
    tree = next((path for path in (here, *here.parents) if is_kernel(path)), None)
    if tree is None:
        return here / "artifacts"
    import hashlib

    import platformdirs

    digest = hashlib.sha256(str(tree).encode()).hexdigest()[:8]
    return platformdirs.user_state_path("vexpress-cma-harness") / f"{tree.name}-{digest}"


ARTIFACTS = artifacts(Path.cwd())
"""Where what a run leaves goes, unless ``--output`` says otherwise."""
