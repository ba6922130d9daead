# SPDX-License-Identifier: MIT
"""A kernel configured anew from a built one's sources, with stand-ins for what compiles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.builders import additions, variant
from harness.builders.cache import Cache
from harness.builders.process import ToolRunner
from harness.errors import BuildError
from harness.host import project
from harness.host.progress import LazyProgress
from harness.imageset.model import ImageSet

DEFCONFIG = {"DRM": "y", "CMA": "y"}


class Make:
    """What would run make: it notes what it is given."""

    def __init__(self) -> None:
        self.builds = 0
        self.sources: set[str] = set()

    def configure(self, tree: Path, fragments: Sequence[Path], *_: object) -> dict[str, str]:
        assert not list((tree / "obj").iterdir()), "nothing of the other kernel's build is there"
        self.sources = {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()}
        (tree / "obj" / ".config").write_text("".join(path.read_text() for path in fragments))
        return DEFCONFIG

    def kernel(self, _runner: ToolRunner, tree: Path, *_: object) -> None:
        self.builds += 1
        (tree / "obj" / "arch" / "arm" / "boot").mkdir(parents=True)
        for name in ("arch/arm/boot/zImage", "vmlinux", "System.map"):
            (tree / "obj" / name).write_text("new")

    def module(self, runner: ToolRunner, tree: Path) -> None:
        assert (tree / "obj" / "vmlinux").is_file(), "it is made for a kernel that is built"
        (runner.build_dir.out / "cma.ko").write_text("new")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    found = Make()
    monkeypatch.setattr(variant, "configure", found.configure)
    monkeypatch.setattr(variant, "make_kernel", found.kernel)
    monkeypatch.setattr(variant, "make_module", found.module)
    return found


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    entry = tmp_path / "cache" / "entries" / "kernel-6.1-0"
    boot = entry / "tree" / "obj" / "arch" / "arm" / "boot"
    boot.mkdir(parents=True)
    (boot / "zImage").write_text("old")
    (entry / "tree" / "obj" / ".config").write_text("# CONFIG_DRM is not set\n")
    (entry / "tree" / "Makefile").write_text("VERSION = 6\n")
    (entry / "tree" / additions.LISTING).parent.mkdir(parents=True)
    (entry / "tree" / additions.LISTING).write_text("")
    (entry / "info.json").write_text(json.dumps({"release": "6.1.1", "features": []}))
    return ImageSet(boot / "zImage", tmp_path / "x.dtb", module=tmp_path / "old.ko")


@pytest.fixture
def fragment(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.config"
    path.write_text("CONFIG_CMA=y\n# CONFIG_SOUND is not set\n")
    return path


def build(images: ImageSet, fragment: Path, without: Sequence[str] = ()) -> ImageSet:
    cache = Cache(images.kernel.parents[7])
    return variant.build_defconfig(cache, images, fragment, LazyProgress(), without)


def test_kernel_and_driver_are_built_anew_and_the_first_is_left_as_it_is(
    images: ImageSet, fragment: Path, make: Make
) -> None:
    built = build(images, fragment, [additions.LISTING])
    assert make.sources == {"Makefile"}
    assert built.module is not None
    for path in (built.kernel, built.module, built.vmlinux, built.system_map):
        assert path is not None
        assert path.read_text() == "new"
    assert built.kernel.with_name(".config").read_text() == fragment.read_text()
    assert images.kernel.read_text() == "old"
    assert (images.kernel.parents[4] / additions.LISTING).is_file()


def test_it_is_built_once_for_each_kernel_fragment_driver_and_addition(
    images: ImageSet, fragment: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(images, fragment)
    assert build(images, fragment) == first
    assert make.builds == 1
    build(images, fragment, [additions.LISTING])
    fragment.write_text("CONFIG_CMA=y\n")
    build(images, fragment, [additions.LISTING])
    driver = tmp_path / "images" / "module"
    shutil.copytree(project.IMAGES / "module", driver)
    (driver / "cma.c").write_text("changed")
    monkeypatch.setattr(project, "IMAGES", driver.parent)
    build(images, fragment, [additions.LISTING])
    entry = images.kernel.parents[5]
    other = shutil.copytree(entry, entry.with_name("kernel-6.1-1"))
    kernel = other / images.kernel.relative_to(entry)
    build(ImageSet(kernel, images.dtb), fragment, [additions.LISTING])
    assert make.builds == 5


def test_an_option_that_the_kernel_does_not_take_is_named(
    images: ImageSet, fragment: Path, make: Make
) -> None:
    fragment.write_text("CONFIG_CMA=y\nCONFIG_DRM_PL111=y\n# CONFIG_DRM is not set\n")
    with pytest.raises(BuildError, match=r"kernel\.config: .* not take DRM, DRM_PL111$"):
        build(images, fragment)
    assert make.builds == 0
