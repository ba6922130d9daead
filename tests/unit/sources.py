# SPDX-License-Identifier: MIT
"""Kernel sources that the cache has: for tests of what is said about them, without a build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.builders.cache import cache_root


def kernel_tree(version: str) -> Path:
    """The sources of Debian's kernel `version` (``6.1``) with our additions, which are only read.

    Skips where the cache has none: no test of ours builds a kernel.
    """
    for entry in sorted((cache_root() / "entries").glob(f"kernel-{version}-*")):
        try:
            own = json.loads((entry / "info.json").read_text()).get("of the tree")
        except (OSError, ValueError):
            continue
        if own == [] and (entry / "tree" / "mm" / "harness").is_dir():
            return entry / "tree"
    pytest.skip(f"needs the sources of Linux {version}: not in the cache {cache_root()}")
