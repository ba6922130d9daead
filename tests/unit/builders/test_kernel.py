# SPDX-License-Identifier: MIT
"""Kernel sources, patches and configuration, on small trees."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from harness.builders import kernel, kernel_source, patches
from harness.builders.cache import BuildDirectory, Cache
from harness.builders.kernel import KernelTree, Recipe, copy_tree, kernel_key, make_words
from harness.builders.kernel_source import resolve
from harness.builders.process import ToolRunner
from harness.errors import BuildError, UserError
from harness.host import programs
from harness.imageset import kconfig

PATCH = """\
From: nobody
Subject: export it

Skip-if: ^EXPORT_SYMBOL(_GPL)?\\(find in it\\) in mm/cma.c
---
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -1,2 +1,3 @@
 one
 two
+Skip-if: this is content in mm/cma.c
"""


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


def patch_file(tmp_path: Path, text: str = PATCH) -> Path:
    path = tmp_path / "0001-x.patch"
    path.write_text(text)
    return path


def test_a_condition_is_read_from_the_message_only(tmp_path: Path) -> None:
    patch = patches.read_patch(patch_file(tmp_path))
    assert [(c.pattern.pattern, c.file) for c in patch.conditions] == [
        (r"^EXPORT_SYMBOL(_GPL)?\(find in it\)", "mm/cma.c")
    ]


def test_a_patch_is_applied(tmp_path: Path, tree: Path, build_dir: BuildDirectory) -> None:
    patch = patches.read_patch(patch_file(tmp_path))
    assert patches.apply(patch, tree, ToolRunner(build_dir)) == "0001-x.patch: applied"
    assert len((tree / "mm" / "cma.c").read_text().splitlines()) == 3
    assert sorted(path.name for path in (tree / "mm").iterdir()) == ["cma.c"]


def test_a_patch_is_skipped_with_the_reason(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    content = "one\ntwo\nEXPORT_SYMBOL_GPL(find in it);\n"
    (tree / "mm" / "cma.c").write_text(content)
    patch = patches.read_patch(patch_file(tmp_path))
    said = patches.apply(patch, tree, ToolRunner(build_dir))
    assert said == "0001-x.patch: skipped, the tree has it (mm/cma.c:3)"
    assert (tree / "mm" / "cma.c").read_text() == content


def test_a_patch_that_was_applied_before_is_skipped(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    """Where its condition does not see that: the user's own tree, with our patch in it."""
    patch = patches.read_patch(patch_file(tmp_path, PATCH.replace("this is", "no line like")))
    patches.apply(patch, tree, ToolRunner(build_dir))
    before = (tree / "mm" / "cma.c").read_bytes()
    said = patches.apply(patch, tree, ToolRunner(build_dir))
    assert said.startswith("0001-x.patch: skipped, the tree has it")
    assert (tree / "mm" / "cma.c").read_bytes() == before


def test_a_patch_that_does_not_fit_names_itself(
    tmp_path: Path, tree: Path, build_dir: BuildDirectory
) -> None:
    (tree / "mm" / "cma.c").write_text("quite\nother\nlines\n")
    patch = patches.read_patch(patch_file(tmp_path))
    with pytest.raises(BuildError, match=r"applying 0001-x\.patch to the kernel failed") as caught:
        patches.apply(patch, tree, ToolRunner(build_dir))
    assert "Hunk #1 FAILED" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["Skip-if: nothing", "Skip-if: x in ../y", "Skip-if: x in /etc/passwd", "Skip-if: ( in y"],
)
def test_a_condition_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"0001-x\.patch:1: "):
        patches.read_patch(patch_file(tmp_path, line + "\n---\n"))


def test_our_patches_each_have_a_condition() -> None:
    ours = Recipe.ours()
    assert ours.config
    assert len(ours.patches) >= 2
    for path in ours.patches:
        assert patches.read_patch(path).conditions, path


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


@pytest.fixture
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "toolchain", lambda: "gcc 12")


@pytest.mark.usefixtures("no_toolchain")
def test_the_key_changes_with_each_input(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(tree, Cache(tmp_path / "cache"))
    config = tmp_path / "base.config"
    config.write_text("CONFIG_CMA=y\n")
    patch = patch_file(tmp_path)
    recipe = Recipe((config,), (patch,))
    slugs = [kernel_key(source, recipe).slug]
    assert kernel_key(source, recipe).slug == slugs[0]
    config.write_text("CONFIG_CMA=n\n")
    slugs.append(kernel_key(source, recipe).slug)
    patch.write_text(PATCH + "\n")
    slugs.append(kernel_key(source, recipe).slug)
    slugs.append(kernel_key(source, Recipe((config,), ())).slug)
    monkeypatch.setattr(programs, "toolchain", lambda: "gcc 13")
    slugs.append(kernel_key(source, recipe).slug)
    assert len(set(slugs)) == len(slugs)
    patch.unlink()
    with pytest.raises(UserError, match=re.escape(str(patch))):
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
    patches.apply(patches.read_patch(patch_file(tmp_path)), copy.tree, ToolRunner(build_dir))
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
