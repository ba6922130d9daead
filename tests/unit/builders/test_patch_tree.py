# SPDX-License-Identifier: MIT
"""The patch_tree on a kernel that is one file: patch, make what changed, restore, and every end."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders import patch_tree
from harness.builders.cache import Cache, Key
from harness.builders.dtb import NAME
from harness.builders.kept_trees import kept_trees, remove_tree
from harness.builders.kernel import KernelTree
from harness.builders.module import CALLS
from harness.builders.overlay import FileContent
from harness.builders.patch_tree import MODULE, PatchError, PatchTree
from harness.errors import BuildError, UserError
from harness.host import project
from harness.host.locking import FileLock
from harness.host.progress import LineProgress
from harness.imageset.features import Feature

KERNEL = """\
VERSION = 6
PATCHLEVEL = 1
ifeq ($(M),)
zImage: obj/arch/arm/boot/zImage
modules:
obj/arch/arm/boot/zImage: mm/cma.c
	! grep broken mm/cma.c
	mkdir -p obj/arch/arm/boot
	cp mm/cma.c $@
	cp mm/cma.c obj/vmlinux
	cp mm/cma.c obj/System.map
	echo made >>obj/count
	echo "  LD      vmlinux"
else
modules:
	cat mm/cma.c $(M)/cma.c >$(M)/cma.ko
	cp $(M)/cma.ko $(M)/cma_calls.ko
	@echo "  CC [M]  $(M)/cma.o"
endif
.PHONY: modules
"""
MANIFEST = '[[entry]]\npath = "cma.ko"\ntype = "file"\nmode = "0644"\nsource = "@module"\n'


def patch(tmp_path: Path, file: str, new: str, old: str = "good") -> Path:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.patch"
    path.write_text(f"--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-{old}\n+{new}\n")
    return path


class Bench:
    """A patch_tree on a small kernel; `open` is what each process does first."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.base = KernelTree(
            tmp_path / "base" / "tree", "6.1.0", frozenset({Feature.CMA_DEBUGFS})
        )
        tree = self.base.tree
        for name, text in (("Makefile", KERNEL), ("arch/arm/Kconfig", ""), ("mm/cma.c", "good\n")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        self.base.zimage.parent.mkdir(parents=True)
        for path in (self.base.zimage, self.base.vmlinux, self.base.system_map):
            path.write_text("good\n")
        release = self.base.obj / "include" / "config" / "kernel.release"
        release.parent.mkdir(parents=True)
        release.write_text("6.1.0\n")
        self.module = tmp_path / "cached.ko"
        self.module.write_text("cached")
        self.said: list[str] = []

    def open(self, slug: str = "kernel-6.1-1") -> PatchTree:
        progress = LineProgress()
        progress.say = self.said.append  # type: ignore[assignment]
        parts = {name: (Key(name, {}), self.module) for name in ("module", "calls", "app")}
        lock = FileLock(self.tmp_path / "lock")
        cache = Cache(self.tmp_path / "cache")
        made = PatchTree(self.tmp_path / "shop", self.base, slug, parts, lock, progress, cache, 1)
        made.prepare()
        return made

    def build(self, shop: PatchTree) -> str:
        """The kernel in the image set."""
        return shop.build(self.tmp_path / "out").kernel.read_text()

    def makes(self) -> int:
        count = self.tmp_path / "shop" / "linux" / "obj" / "count"
        return count.read_text().count("made") if count.exists() else 0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    images = tmp_path / "images"
    for part in (*patch_tree.PATCHABLE, "rootfs"):
        (images / part).mkdir(parents=True)
    (images / "module" / "cma.c").write_text("good\n")
    (images / "dts" / NAME).write_text("good\n")
    (images / "rootfs" / "manifest.toml").write_text(MANIFEST)
    monkeypatch.setattr(project, "IMAGES", images)
    monkeypatch.setattr(patch_tree, "compile_dts", lambda text, tree, own, step: text.encode())
    return Bench(tmp_path)


def test_a_kernel_patch_is_made_and_taken_off(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    assert bench.build(shop) == "good\n"
    assert bench.makes() == 0, "the copy is up to date"
    assert shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad")) == ["linux/mm/cma.c"]
    assert bench.build(shop) == "bad\n"
    assert (bench.makes(), shop.steps[:1]) == (1, ["vmlinux"])
    shop.restore()
    assert bench.build(shop) == "good\n"
    assert (bench.makes(), shop.steps) == (0, []), "the objects are what they were too"
    assert bench.said == ["copying the tree of kernel-6.1-1"]


@pytest.mark.parametrize("shown", ["$(M)/cma.o", "cma.o"])  # before 6.13, and from then on
def test_what_is_made_of_the_driver_is_no_object_of_the_kernel(
    shown: str, tmp_path: Path, bench: Bench
) -> None:
    makefile = bench.base.tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(M)/cma.o", shown))
    shop = bench.open()
    shop.apply(patch(tmp_path, "images/module/cma.c", "bad"))
    bench.build(shop)
    assert shop.steps == [str(shop.root / "images" / "module" / "cma.o")]
    assert not shop.made_of_source
    shop.restore()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    bench.build(shop)
    assert shop.steps[0] == "vmlinux"
    assert shop.made_of_source


def test_what_the_cache_has_is_never_written(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    source = shop.kernel.tree / "mm" / "cma.c"
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    with source.open("a") as file:  # in place, as a program of the build may
        file.write("worse\n")
    assert (bench.base.tree / "mm" / "cma.c").read_text() == "good\n"
    shop.restore()
    assert source.read_text() == "good\n"


def test_a_patch_as_git_makes_it_in_a_kernel_tree_is_one_of_the_kernel(
    bench: Bench, tmp_path: Path
) -> None:
    shop = bench.open()
    assert shop.apply(patch(tmp_path, "mm/cma.c", "bad")) == ["linux/mm/cma.c"]
    assert bench.build(shop) == "bad\n"


def test_the_parts_of_the_images_are_made_from_their_patches(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    before = shop.build(tmp_path / "one")
    assert before.module == bench.module, "nothing has changed: the cache's"
    shop.apply(patch(tmp_path, "images/module/cma.c", "bad"))
    shop.apply(patch(tmp_path, f"images/dts/{NAME}", "other"))
    images = shop.build(tmp_path / "two")
    assert images.module is not None
    assert images.module.read_text() == "good\nbad\n"
    assert images.dtb.read_text() == "other\n"
    assert images.initrd is not None
    assert b"good\nbad\n" in images.initrd.read_bytes()
    assert bench.makes() == 0, "the kernel is not made for it"
    assert (project.IMAGES / "module" / "cma.c").read_text() == "good\n"
    shop.restore()
    assert shop.build(tmp_path / "three").dtb.read_text() == "good\n"


def test_a_changed_kernel_makes_the_module_anew(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    images = shop.build(tmp_path / "out")
    assert images.module is not None
    assert images.module.read_text() == "bad\ngood\n"


def test_new_files_are_removed_again(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    new = tmp_path / "new.patch"
    new.write_text("--- /dev/null\n+++ b/linux/mm/new.c\n@@ -0,0 +1 @@\n+new\n")
    shop.apply(new)
    assert (shop.kernel.tree / "mm" / "new.c").exists()
    shop.restore()
    assert not (shop.kernel.tree / "mm" / "new.c").exists()


def test_a_patch_that_does_not_apply_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    text = patch(tmp_path, "linux/mm/cma.c", "bad").read_text()
    text += patch(tmp_path, "images/module/cma.c", "bad", old="not there").read_text()
    both = tmp_path / "both.patch"
    both.write_text(text)
    with pytest.raises(PatchError, match=r"patch failed: images/module/cma\.c:1"):
        shop.apply(both)
    assert bench.build(shop) == "good\n"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("images/rootfs/manifest.toml", "in none of images/"),
        ("linux/obj/vmlinux", "not a source"),
    ],
)
def test_a_patch_of_what_is_no_source_is_refused(
    bench: Bench, tmp_path: Path, file: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        bench.open().apply(patch(tmp_path, file, "bad"))


def test_a_build_that_fails_leaves_the_next_one_right(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "broken"))
    with pytest.raises(BuildError, match="making the kernel failed"):
        bench.build(shop)
    shop.restore()
    assert bench.build(shop) == "good\n"


def test_what_a_dead_process_left_applied_is_restored(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    bench.build(shop)
    again = bench.open()  # the first one is dead: it has not restored
    assert (again.kernel.tree / "mm" / "cma.c").read_text() == "good\n"
    assert bench.build(again) == "good\n"
    assert bench.said == ["copying the tree of kernel-6.1-1"], "copied once"


@pytest.mark.parametrize("name", ["module/cma.c", "app/cma.c", f"dts/{NAME}"])
def test_a_patch_may_be_made_in_a_part_of_the_images(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    (project.IMAGES / "app" / "cma.c").write_text("good\n")
    shop = bench.open()
    assert shop.apply(patch(tmp_path, name, "bad")) == [f"images/{name}"]


def test_a_half_object_of_a_make_that_was_killed_is_gone(bench: Bench, tmp_path: Path) -> None:
    shop = bench.open()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    (shop.kernel.obj / "half.o").write_text("half an object")
    shop.kernel.zimage.write_text("half a kernel")
    again = bench.open()
    assert not (again.kernel.obj / "half.o").exists()
    assert bench.build(again) == "good\n"
    assert bench.makes() == 0


def test_no_link_that_a_build_leaves_is_followed(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    shop = bench.open()
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad"))
    release = shop.kernel.obj / "include" / "config" / "kernel.release"
    release.unlink()
    release.symlink_to(secret)
    with pytest.raises(BuildError, match=r"kernel\.release was not made, or is no plain file"):
        bench.build(shop)
    (shop.root / "tmp" / "applied.patch").symlink_to(secret)
    shop.apply(patch(tmp_path, f"images/dts/{NAME}", "bad"))
    assert secret.read_text() == "secret"


def test_a_copy_that_was_not_finished_is_made_anew(bench: Bench) -> None:
    shop = bench.open()
    for record in shop.root.glob("linux.*"):
        record.unlink()
    (shop.kernel.tree / "mm" / "cma.c").unlink()
    assert bench.build(bench.open()) == "good\n"


def test_another_kernel_is_copied_anew(bench: Bench) -> None:
    bench.open()
    bench.open("kernel-6.1-2")
    assert bench.said == ["copying the tree of kernel-6.1-1", "copying the tree of kernel-6.1-2"]


def test_kept_trees_are_listed_and_removed_unless_in_use(bench: Bench, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    place = cache.directory("trees")
    bench.open().root.rename(place / "6.1")
    (place / "half").mkdir()
    first, half = kept_trees(cache)
    assert (first.path.name, first.kernel, half.kernel) == ("6.1", "kernel-6.1-1", "")
    assert first.size > 0
    with FileLock(cache.directory("locks") / "tree-6.1.lock") as lock:
        lock.exclusive(lambda who: None)
        assert not remove_tree(cache, first)
    assert first.path.exists()
    assert remove_tree(cache, first)
    assert [tree.path.name for tree in kept_trees(cache)] == ["half"]


def laid(text: str) -> dict[str, FileContent | None]:
    return {"mm/cma.c": FileContent(text.encode(), 0o644)}


def test_what_is_laid_is_the_base_of_patches_and_is_built_once(
    bench: Bench, tmp_path: Path
) -> None:
    shop = bench.open()
    assert shop.lay(laid("newer\n")) == ["mm/cma.c"]
    assert bench.build(shop) == "newer\n"
    shop.apply(patch(tmp_path, "linux/mm/cma.c", "bad", "newer"))
    assert bench.build(shop) == "bad\n"
    assert "-newer\n+bad" in shop.diff()
    assert "-good\n+bad" in shop.diff_of_all()
    assert len(shop.made) == 2 * len(shop.steps) > 0, "what was made of the base too"
    shop.restore()
    assert shop.made == []
    assert bench.build(shop) == "newer\n"
    assert shop.diff() == ""
    assert "-good\n+newer" in shop.diff_of_all()
    shop.clean()
    made = bench.makes()
    again = bench.open()
    again.lay(laid("newer\n"))
    assert bench.build(again) == "newer\n"
    assert bench.makes() == made, "its kernel was kept"
    again.lay({})
    assert bench.build(again) == "good\n"


def test_one_tree_after_the_other_is_laid_and_made(bench: Bench) -> None:
    shop = bench.open()
    for text in ("one\n", "two\n", "one\n"):
        shop.lay(laid(text), ["mm/cma.c"])
        assert bench.build(shop) == text
        assert shop.made_of_source
    assert bench.makes() == 3, "what is edited is not kept"


def count_drivers(shop: PatchTree, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Enters each time that the driver is made."""
    make = shop._make_module

    def counted(to: Path) -> Path:
        made.append("driver")
        return make(to)

    monkeypatch.setattr(shop, "_make_module", counted)


def test_the_driver_is_made_again_where_what_it_is_made_of_may_differ(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = bench.open()
    made: list[str] = []
    count_drivers(shop, made, monkeypatch)

    def after(text: str, exported: str, *more: str) -> int:
        more_files = {path: FileContent(b"", 0o644) for path in more}
        shop.lay({**laid(text), **more_files}, ["mm/cma.c"])
        (shop.kernel.obj / patch_tree.SYMVERS).write_text(exported)
        bench.build(shop)
        return len(made)

    assert after("one\n", "cma_alloc") == 1
    assert after("two\n", "cma_alloc") == 1, "a source of the kernel alone"
    assert after("three\n", "") == 2, "what it exports"
    assert after("three\n", "", "mm/cma.h") == 3
    assert after("four\n", "", "mm/cma.h") == 3
    assert after("four\n", "") == 4, "the header is gone again"
    shop.apply(patch(tmp_path, "images/module/cma.c", "bad"))
    assert bench.build(shop)
    assert len(made) == 5
    shop.restore()
    assert after("four\n", "") == 6, "the tree was made good"


def test_the_kernel_s_own_driver_serves_where_a_patch_changes_nothing_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.base.obj / patch_tree.SYMVERS).write_text("cma_alloc")
    shop = bench.open()
    made: list[str] = []
    count_drivers(shop, made, monkeypatch)

    def makes(*more: str, exported: str = "cma_alloc") -> bool:
        shop.clean()
        made.clear()
        shop.lay({**laid("new\n"), **{path: FileContent(b"", 0o644) for path in more}}, ["a.c"])
        (shop.kernel.obj / patch_tree.SYMVERS).write_text(exported)
        images = shop.build(bench.tmp_path / "made")
        assert images.module is not None
        assert (images.module.read_text() == "cached") is (not made)
        return bool(made)

    assert not makes()
    assert makes(exported="cma_alloc, and more")
    assert not makes("mm/other.c")
    assert makes("mm/cma.h")
    for place in ("kept", "kept again"):  # a commit's kernel, which is built once
        shop.clean()
        shop.lay(laid("commit\n"))
        (shop.kernel.obj / patch_tree.SYMVERS).write_text("cma_alloc")
        to = bench.tmp_path / place
        shop.build(to)
        assert [(to / name).read_text() for name in (MODULE, CALLS)] == ["cached"] * 2
    (bench.base.tree / "Makefile").write_text(
        KERNEL.replace("LD      vmlinux", "CC      kernel/bounds.s")
    )
    shop = bench.open("another")
    count_drivers(shop, made, monkeypatch)
    assert makes(), "headers are made of that"
