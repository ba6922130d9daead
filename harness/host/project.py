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
ARTIFACTS = Path("artifacts").absolute() if INSTALLED else ROOT / "artifacts"
"""Where what a run leaves goes, unless ``--output`` says otherwise."""
