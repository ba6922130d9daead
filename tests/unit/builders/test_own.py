# SPDX-License-Identifier: MIT
"""What is said of directories and kernels that nothing can be built from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.builders.cache import Cache
from harness.builders.own import Builds
from harness.errors import UserError
from harness.imageset.model import ImageSet


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    entry = tmp_path / "cache" / "entries" / "kernel-6.1-0"
    boot = entry / "tree" / "obj" / "arch" / "arm" / "boot"
    boot.mkdir(parents=True)
    (entry / "tree" / "obj" / ".config").write_text("CONFIG_CMA=y\n")
    (entry / "info.json").write_text(json.dumps({"release": "6.1.1", "features": []}))
    return Builds(ImageSet(boot / "zImage", tmp_path / "x.dtb"), Cache(tmp_path / "cache"))


def test_a_kernel_that_was_given_has_no_tree(tmp_path: Path) -> None:
    for name in ("zImage", "a/b/c/d/e/f/zImage"):
        with pytest.raises(UserError, match="nothing can be built for it without its tree"):
            Builds(ImageSet(tmp_path / name, tmp_path / "x.dtb"), Cache(tmp_path / "cache"))


def test_a_directory_that_is_none_of_a_module(builds: Builds, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has no Kbuild"):
        builds.module(tmp_path)
    for content in ("", "obj-m := a.o\nobj-m += b.o\n", "obj-y := a.o\n"):
        (tmp_path / "Kbuild").write_text(content)
        with pytest.raises(UserError, match=r"expected one line obj-m := NAME\.o"):
            builds.module(tmp_path)


def test_a_directory_without_a_c_file(builds: Builds, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no C file"):
        builds.program(tmp_path / "nowhere")
