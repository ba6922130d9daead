# SPDX-License-Identifier: MIT
"""Kernel sources, patches and configuration, on small trees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from harness.builders import additions, kernel, kernel_source
from harness.builders.cache import BuildDirectory, Cache
from harness.builders.kernel import (
    KernelTree,
    Recipe,
    _check_variant,
    copy_tree,
    fragments,
    kernel_key,
    make_words,
)
from harness.builders.kernel_source import KernelSource, resolve, variants, with_variant
from harness.builders.process import ToolRunner
from harness.errors import BuildError, UserError
from harness.host import programs
from harness.imageset import kconfig
from harness.imageset.features import Feature


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux"
    (root / "arch" / "arm").mkdir(parents=True)
    (root / "mm").mkdir()
    (root / "Makefile").write_text("VERSION = 5\nPATCHLEVEL = 0\nSUBLEVEL = 0\n")
    (root / "arch" / "arm" / "Kconfig").write_text("")
    (root / "mm" / "cma.c").write_text("one\ntwo\n")
    return root


def git(path: Path, *words: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
    subprocess.run(["git", *identity, "-C", path, *words], check=True, capture_output=True)


@pytest.fixture
def added(tmp_path: Path) -> Path:
    root = tmp_path / "additions"
    (root / "mm" / "harness").mkdir(parents=True)
    (root / "mm" / "Kbuild").write_text("include $(srctree)/mm/Makefile\n")
    (root / "mm" / "harness" / "lookup.c").write_text("int x;\n")
    return root


def test_additions_change_no_file_of_the_tree(tree: Path, added: Path) -> None:
    additions.lay(added, tree)
    # A copy of a tree that was built in once: they are there.
    additions.lay(added, tree)
    assert (tree / "mm" / "cma.c").read_text() == "one\ntwo\n"
    assert (tree / "mm" / "harness" / "lookup.c").read_text() == "int x;\n"
    assert [name for name, _ in additions.files(added)] == ["mm/Kbuild", "mm/harness/lookup.c"]


def test_a_tree_with_such_a_file_of_its_own_is_refused(tree: Path, added: Path) -> None:
    (tree / "mm" / "Kbuild").write_text("obj-y += theirs.o\n")
    with pytest.raises(UserError, match=r"a file mm/Kbuild of its own"):
        additions.lay(added, tree)


def test_a_kernel_as_it_is(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    additions.lay(None, tree)
    assert sorted(tree.rglob("*")) == before
    assert not additions.lists_areas(None)


def test_what_the_tree_has_is_read_from_the_build(tmp_path: Path) -> None:
    place = tmp_path / "mm" / "harness"
    place.mkdir(parents=True)
    flags = "-DTREE_DEFINES_dma_alloc_from_contiguous "
    flags += "-DTREE_DEFINES_find_cma_by_name -DTREE_EXPORTS_find_cma_by_name"
    (place / ".lookup.o.cmd").write_text(f"cmd_mm/harness/lookup.o := gcc {flags} -c x.c\n")
    assert additions.of_the_tree(tmp_path) == ["find_cma_by_name"]
    assert additions.of_the_tree(tmp_path / "nowhere") == []


OWN = (
    ("mm/cma.c", "struct cma *find_cma_by_name(const char *name)\n{\n}\n", "DEFINES"),
    ("mm/cma.c", "static int x;\n\nEXPORT_SYMBOL(find_cma_by_name);\n", "EXPORTS"),
    ("kernel/dma/contiguous.c", "EXPORT_SYMBOL_GPL(find_cma_by_name);\n", "EXPORTS"),
    ("mm/cma.c", 'EXPORT_SYMBOL_NS_GPL(find_cma_by_name, "X");\n', "EXPORTS"),
    ("mm/cma.c", "struct cma *find_cma_by_name(const char *name);\n", None),
    ("mm/cma.c", " * find_cma_by_name() - find it\n", None),
    ("mm/cma.c", "EXPORT_SYMBOL(find_cma_by_name_too);\n", None),
    ("mm/harness/lookup.c", "EXPORT_SYMBOL(find_cma_by_name);\n", None),
)


@pytest.mark.parametrize(("file", "text", "kind"), OWN)
def test_make_finds_what_the_tree_has(tree: Path, file: str, text: str, kind: str | None) -> None:
    """kbuild's part is played by a makefile: what counts are the flags that ours would give."""
    ours = Recipe.ours().additions
    additions.lay(ours, tree)
    (tree / file).parent.mkdir(parents=True, exist_ok=True)
    (tree / file).write_text(text)
    asks = tree / "asks.mk"
    asks.write_text(
        f"srctree := {tree}\ninclude {tree}/mm/harness/Makefile\n"
        "$(info $(strip $(ccflags-y)))\n$(info $(sort $(obj-y)))\nall:;@:\n"
    )
    done = subprocess.run(["make", "-s", "-f", asks], check=True, capture_output=True, text=True)
    flags, objects = done.stdout.splitlines()
    assert flags == (f"-DTREE_{kind}_find_cma_by_name" if kind else "")
    assert objects == "exports.o iomem.o lookup.o"


def test_kconfig_last_line_counts() -> None:
    text = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_A=m\nCONFIG_S="x y"\n# words\n'
    assert kconfig.parse(text) == {"A": "m", "B": "n", "S": '"x y"'}


def test_what_a_fragment_wanted_and_did_not_get() -> None:
    wanted = kconfig.parse("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n")
    got = kconfig.parse("CONFIG_A=y\nCONFIG_C=y\n")
    assert kconfig.not_honoured(wanted, got) == ["B", "C"]


def test_options_that_matter_are_named_when_they_are_missing() -> None:
    config = dict.fromkeys(kconfig.REQUIRED, "y")
    kconfig.check(config)
    config["DMA_CMA"] = "n"
    del config["DEVTMPFS"]
    config["CMA"] = "m"
    expected = "without CONFIG_CMA, CONFIG_DEVTMPFS, CONFIG_DMA_CMA:"
    with pytest.raises(BuildError, match=expected):
        kconfig.check(config)


def test_a_git_tree_is_built_as_it_is_on_disk_and_left_alone(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "cache", said.append)
    (tree / ".gitignore").write_text("*.o\n")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "x")
    clean = resolve(tree, cache)
    assert said == []
    (tree / "mm" / "cma.o").write_text("built")
    assert resolve(tree, cache).identity == clean.identity
    (tree / "mm" / "cma.c").write_text("changed\n")
    (tree / "mm" / "new.c").write_text("new\n")
    (tree / "arch" / "arm" / "gone").write_text("")
    git(tree, "add", "arch")
    (tree / "arch" / "arm" / "gone").unlink()
    # So git would find its index out of date, and no entry too young to be sure of.
    os.utime(tree / "Makefile", (10**9, 10**9))
    later = time.time() + 10
    os.utime(tree / ".git" / "index", (later, later))
    index = (tree / ".git" / "index").read_bytes()
    dirty = resolve(tree, cache)
    assert dirty.identity != clean.identity
    assert said == [f"{tree} has uncommitted changes (3 files): they are built too"]
    (tree / "mm" / "new.c").write_text("newer\n")
    assert resolve(tree, cache).identity != dirty.identity
    resolve(tree, cache).unpack(ToolRunner(build_dir), build_dir.out)
    names = sorted(
        str(p.relative_to(build_dir.out)) for p in build_dir.out.rglob("*") if p.is_file()
    )
    assert names == [".gitignore", "Makefile", "arch/arm/Kconfig", "mm/cma.c", "mm/new.c"]
    assert (build_dir.out / "mm" / "new.c").read_text() == "newer\n"
    assert (tree / ".git" / "index").read_bytes() == index


def test_a_plain_tree_is_copied(tmp_path: Path, tree: Path, build_dir: BuildDirectory) -> None:
    cache = Cache(tmp_path / "cache")
    source = resolve(tree, cache)
    assert source.label == "linux"
    source.unpack(ToolRunner(build_dir), build_dir.out)
    assert (build_dir.out / "mm" / "cma.c").read_text() == "one\ntwo\n"
    (tree / "mm" / "cma.c").write_text("one\nTWO\n")
    os.utime(tree / "mm" / "cma.c", ns=(1, 1))
    assert resolve(tree, cache).identity != source.identity


def test_what_an_earlier_build_left_is_not_copied(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    """Gigabytes, in the tree and in the directory of ``make O=obj``."""
    before = resolve(tree, Cache(tmp_path / "cache")).identity
    (tree / "obj").mkdir()
    (tree / "obj" / ".config").write_text("CONFIG_CMA=y\n")
    for name in ("obj/vmlinux", "vmlinux", "mm/cma.o", "mm/.cma.o.cmd"):
        (tree / name).write_bytes(bytes(10))
    source = resolve(tree, Cache(tmp_path / "cache"))
    assert source.identity == before
    source.unpack(ToolRunner(build_dir), build_dir.out)
    copied = {str(path.relative_to(build_dir.out)) for path in build_dir.out.rglob("*")}
    assert "mm/cma.c" in copied
    assert not copied & {"obj", "vmlinux", "mm/cma.o", "mm/.cma.o.cmd"}


def test_a_directory_in_the_way_of_the_build_is_told_before_the_copy(
    tmp_path: Path, tree: Path
) -> None:
    (tree / "obj").mkdir()
    with pytest.raises(UserError, match="/obj is in the way"):
        resolve(tree, Cache(tmp_path / "cache"))


def test_what_is_no_kernel_tree(tmp_path: Path, tree: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UserError, match="is no kernel tree: Makefile"):
        resolve(tmp_path / "nowhere", cache)
    (tree / "Makefile").write_text("VERSION = 4\nPATCHLEVEL = 19\n")
    with pytest.raises(UserError, match=r"is Linux 4\.19; 5\.0 is the oldest"):
        resolve(tree, cache)
    (tree / "Makefile").write_text("all:\n")
    with pytest.raises(UserError, match="no VERSION"):
        resolve(tree, cache)
    with pytest.raises(UserError, match="kernel version 'six'"):
        resolve("six", cache)


class NoApt:
    """An apt that has some kernel sources and no others."""

    def __init__(self, cache: Cache, *, arm: bool = True) -> None:
        self.cache = cache

    def candidate(self, package: str) -> str | None:
        return {"linux-source-6.8": "6.8-1", "linux-source-4.4": "4.4-1"}.get(package)

    def names(self, prefix: str) -> list[str]:
        return [f"{prefix}{rest}" for rest in ("6.8", "4.4", "generic", "6.10-dbg")]


@pytest.mark.parametrize(
    ("asked", "found", "right"),
    [
        ("6.1", "6.1.192", True),
        ("6.1", "6.1", True),
        ("6.1", "6.12.117", False),
        ("6.12", "6.1.192", False),
        ("6.8.0", "6.8.12", True),
        ("7.3", "7.3.4-rc1", True),
        ("7.3", "17.3", False),
        ("", "5.0.0", True),
    ],
)
def test_a_kernel_is_what_was_asked_for(asked: str, found: str, right: bool) -> None:
    source = KernelSource("x", "linux-source-x 1", lambda _tools, _tree: None, asked)
    if right:
        source.check(found)
    else:
        with pytest.raises(BuildError, match=f"asked for Linux {asked}, .* is Linux {found}"):
            source.check(found)


def test_the_newest_is_what_apt_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.builders.apt.PrivateApt", NoApt)
    monkeypatch.setattr(kernel_source, "USR_SRC", tmp_path)
    assert resolve("newest", Cache(tmp_path / "cache")).version == "6.8"


def test_only_the_default_kernel_is_replaced_where_apt_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "cache", said.append)
    monkeypatch.setattr("harness.builders.apt.PrivateApt", NoApt)
    monkeypatch.setattr(kernel_source, "USR_SRC", tmp_path)
    found = resolve(None, cache)
    assert (found.label, found.identity) == ("6.8", "linux-source-6.8 6.8-1")
    assert said == ["apt has no linux-source-6.1 here: taking linux-source-6.8"]
    with pytest.raises(UserError, match=r"no linux-source-6\.12 \(it has 6\.8\)") as caught:
        resolve("6.12", cache)
    assert "--kernel-source DIR" in str(caught.value)


class Ubuntu(NoApt):
    """Its names have three numbers."""

    def candidate(self, package: str) -> str | None:
        return {"linux-source-6.8.0": "6.8.0-60"}.get(package)

    def names(self, prefix: str) -> list[str]:
        return [f"{prefix}6.8.0"]


def test_a_version_is_found_by_ubuntu_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.builders.apt.PrivateApt", Ubuntu)
    monkeypatch.setattr(kernel_source, "USR_SRC", tmp_path)
    found = resolve("6.8", Cache(tmp_path / "cache"))
    assert (found.version, found.identity) == ("6.8.0", "linux-source-6.8.0 6.8.0-60")
    found.check("6.8.12")


@pytest.fixture
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "toolchain", lambda: "gcc 12")


@pytest.mark.usefixtures("no_toolchain")
def test_the_key_changes_with_each_input(
    tmp_path: Path, tree: Path, added: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(tree, Cache(tmp_path / "cache"))
    config = tmp_path / "base.config"
    config.write_text("CONFIG_CMA=y\n")
    recipe = Recipe((config,), added)
    slugs = [kernel_key(source, recipe).slug]
    assert kernel_key(source, recipe).slug == slugs[0]
    config.write_text("CONFIG_CMA=n\n")
    slugs.append(kernel_key(source, recipe).slug)
    (added / "mm" / "Kbuild").write_text("\n")
    slugs.append(kernel_key(source, recipe).slug)
    slugs.append(kernel_key(source, Recipe((config,), None)).slug)
    monkeypatch.setattr(programs, "toolchain", lambda: "gcc 13")
    slugs.append(kernel_key(source, recipe).slug)
    assert len(set(slugs)) == len(slugs)
    config.unlink()
    with pytest.raises(UserError, match=re.escape(str(config))):
        kernel_key(source, recipe)


def test_old_trees_get_the_flag_that_gcc_10_took_away(tree: Path) -> None:
    assert "HOSTCFLAGS=-fcommon" in make_words(tree)
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")
    assert "HOSTCFLAGS=-fcommon" not in make_words(tree)


def test_a_compiler_of_hard_floats_is_told_before_kbuild_asks_it_for_armv7(tree: Path) -> None:
    makefile = tree / "arch" / "arm" / "Makefile"
    assert "-msoft-float" not in " ".join(make_words(tree))
    makefile.write_text("arch-$(CONFIG_CPU_32v7) =$(call cc-option,-march=armv7-a,-march=armv5t)\n")
    assert any(word.endswith("gcc -msoft-float") for word in make_words(tree))


def test_a_copied_tree_can_be_patched_without_touching_the_first(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    (tree / "obj").mkdir()
    (tree / "obj" / "cma.o").write_text("old")
    os.utime(tree / "obj" / "cma.o", ns=(10**18, 10**18))
    first = KernelTree(tree, "5.0.0", frozenset())
    copy = copy_tree(
        first, tmp_path / "copy" / "tree", lambda argv: ToolRunner(build_dir).run([*argv], "x")
    )
    assert copy.obj.stat().st_ino != first.obj.stat().st_ino
    assert (copy.obj / "cma.o").stat().st_mtime_ns == 10**18
    diff = "--- a/mm/cma.c\n+++ b/mm/cma.c\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
    words = ["patch", "-p1", "-s", "-d", str(copy.tree)]
    subprocess.run(words, input=diff, check=True, text=True)
    (copy.obj / "cma.o").write_text("new")
    assert (tree / "mm" / "cma.c").read_text() == "one\ntwo\n"
    assert (tree / "obj" / "cma.o").read_text() == "old"


@pytest.mark.parametrize(
    ("line", "is_step"),
    [
        ("  CC      mm/cma.o", True),
        ("  CC [M]  drivers/x.o", True),
        ("  LD      vmlinux", True),
        ("  615 |         return 0", False),
        ("make[1]: Entering directory", False),
        ("mm/cma.c:1:1: warning: x", False),
    ],
)
def test_steps_of_make(line: str, is_step: bool) -> None:
    assert bool(kernel._STEP.match(line)) is is_step


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_a_git_tree_of_another_user(tmp_path: Path, tree: Path) -> None:
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "x")
    for path in (tree, tree / ".git"):
        os.chown(path, 65534, 65534)
    assert resolve(tree, Cache(tmp_path / "cache")).identity.startswith("git tree ")


def test_features_of_a_cached_kernel_are_told_by_today_s_rules(tmp_path: Path) -> None:
    """Its entry may be of an earlier version, which knew other features or other rules."""
    (tmp_path / "tree" / "obj").mkdir(parents=True)
    options = ("DMABUF_HEAPS", "DMABUF_HEAPS_CMA", "DEBUG_FS", "CMA_DEBUGFS")
    text = "".join(f"CONFIG_{option}=y\n" for option in options)
    (tmp_path / "tree" / "obj" / ".config").write_text(text)
    noted = ["heaps", "iomem-cma", "cma-sysfs", "of-another-day"]
    info = {"release": "6.12.117", "features": noted}
    (tmp_path / "info.json").write_text(json.dumps(info))
    assert KernelTree.of(tmp_path).features == {Feature.IOMEM_CMA, Feature.CMA_DEBUGFS}


@pytest.mark.parametrize("commits", [0, 1])
def test_a_repository_in_which_the_sources_are_not_is_a_plain_tree(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory, commits: int
) -> None:
    """Debian's sources have a .gitignore for all that is not debian/: `git add .` adds nothing."""
    (tree / ".gitignore").write_text("/*\n!/debian/\n")
    (tree / "debian").mkdir()
    (tree / "debian" / "control").write_text("")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    for _ in range(commits):
        git(tree, "commit", "-qm", "x")
    source = resolve(tree, Cache(tmp_path / "cache"))
    assert source.identity.startswith("directory ")
    assert source.repository is None
    source.unpack(ToolRunner(build_dir), build_dir.out)
    assert (build_dir.out / "mm" / "cma.c").is_file()
    assert not (build_dir.out / ".git").exists()
    (tree / ".git" / "note").write_text("git does something\n")
    assert resolve(tree, Cache(tmp_path / "cache")).identity == source.identity


def test_a_variant_lays_its_options_on_ours_and_has_a_key_of_its_own(tmp_path: Path) -> None:
    source = KernelSource("6.1", "tree 1", lambda _runner, _to: None)
    recipe = Recipe.ours()
    keys = {name: kernel_key(with_variant(source, name), recipe) for name in ("", *variants())}
    assert len({key.slug for key in keys.values()}) == len(keys)
    assert keys[""] == kernel_key(source, recipe)
    assert keys["kasan"].name == "kernel-6.1-kasan"
    assert fragments(with_variant(source, "kasan"), recipe)[-1].name == "kasan.config"
    assert {"kasan", "ubsan", "lockdep", "debug", "preempt"} <= set(variants())


def test_an_unknown_variant_is_refused_by_name() -> None:
    source = KernelSource("6.1", "tree 1", lambda _runner, _to: None)
    with pytest.raises(UserError, match="no such variant of the kernel; did you mean kasan"):
        with_variant(source, "kasn")


def test_a_variant_whose_options_a_kernel_does_not_have_is_refused(tmp_path: Path) -> None:
    fragment = tmp_path / "kasan.config"
    fragment.write_text("CONFIG_KASAN=y\n# CONFIG_OTHER is not set\nCONFIG_KASAN_OUTLINE=y\n")
    _check_variant(fragment, {"KASAN": "y", "KASAN_OUTLINE": "y"})
    with pytest.raises(UserError, match="--variant kasan: this kernel does not have CONFIG_KASAN;"):
        _check_variant(fragment, {"KASAN_OUTLINE": "y", "OTHER": "y"})
