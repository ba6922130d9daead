# SPDX-License-Identifier: MIT
"""Patches that attack the host from their Makefiles, on a kernel that is one file.

Each is applied and built as the gate does it. Nothing of the host is read, written or deleted, and
what was tried is said. Siblings of what a sandbox must stop are in
``tests/unit/builders/test_sandbox.py``, each with every means of confinement.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builders import patch_tree
from harness.builders.cache import Cache, Key
from harness.builders.dtb import NAME
from harness.builders.kernel import KernelTree
from harness.builders.patch_tree import PatchTree
from harness.builders.sandbox import Contained, NoSandbox, check
from harness.builders.watch import Limits
from harness.errors import BuildError
from harness.gate.findings import unnumbered
from harness.host import confine, project
from harness.host.locking import FileLock
from harness.host.progress import LineProgress

KERNEL = """\
VERSION = 6
PATCHLEVEL = 1
OBJ := $(CURDIR)/obj

ifeq ($(M),)
zImage: obj/arch/arm/boot/zImage
modules:
obj/arch/arm/boot/zImage: mm/cma.c Makefile
	mkdir -p obj/arch/arm/boot obj/mm
	cp mm/cma.c $@
	cp mm/cma.c obj/vmlinux
	cp mm/cma.c obj/System.map
	cp mm/cma.c obj/mm/cma.o
	@echo "  CC      mm/cma.o"
else
modules:
	cat mm/cma.c $(M)/cma.c >$(M)/cma.ko
	cp $(M)/cma.ko $(M)/cma_calls.ko
endif
.PHONY: modules
"""
MANIFEST = '[[entry]]\npath = "cma.ko"\ntype = "file"\nmode = "0644"\nsource = "@module"\n'
LIMITS = Limits(seconds=30, memory=500 << 20, processes=60, disk=64 << 20, output=1 << 20)


class World:
    """A tree to be attacked, and a file of the host beside it."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path  # all may pass through it
        self.victim = tmp_path / "host" / "precious.o"
        self.victim.parent.mkdir()
        self.victim.write_text("precious")
        base = KernelTree(tmp_path / "base" / "tree", "6.1.0", frozenset())
        for name, text in (("Makefile", KERNEL), ("arch/arm/Kconfig", ""), ("mm/cma.c", "good\n")):
            (base.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (base.tree / name).write_text(text)
        made = ("arch/arm/boot/zImage", "vmlinux", "System.map", "mm/cma.o")
        for name in made:
            (base.obj / name).parent.mkdir(parents=True, exist_ok=True)
            (base.obj / name).write_text("good\n")
        release = base.obj / "include" / "config" / "kernel.release"
        release.parent.mkdir(parents=True)
        release.write_text("6.1.0\n")
        module = tmp_path / "cached.ko"
        module.write_text("cached")
        parts = {"module": (Key("module", {}), module), "app": (Key("app", {}), module)}
        lock, cache = FileLock(tmp_path / "lock"), Cache(tmp_path / "cache")
        root = tmp_path / "cache" / "trees" / "6.1"
        progress = LineProgress()
        self.tree = PatchTree(root, base, "kernel-6.1-1", parts, lock, progress, cache, 1, LIMITS)
        self.tree.prepare()

    def build(self, *lines: str) -> None:
        """Applies a patch that adds `lines` to the Makefile, and builds."""
        added = "".join(f"+{line}\n" for line in lines)
        path = self.tmp_path / "hostile.patch"
        path.write_text(
            "--- a/linux/Makefile\n+++ b/linux/Makefile\n"
            f"@@ -3,2 +3,{2 + len(lines)} @@\n OBJ := $(CURDIR)/obj\n{added} \n"
        )
        self.tree.apply(path)
        self.tree.build(self.tmp_path / "out")

    def shell(self, script: str) -> None:
        """The same with a shell script that the Makefile runs, in the kernel's tree."""
        assert "'" not in script
        self.build(f"$(shell bash -c '{script.replace('$', '$$')}' 2>/dev/null)")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    try:
        check()
    except NoSandbox as error:
        pytest.skip(str(error).partition("\n")[0])
    images = tmp_path / "images"
    for part in (*patch_tree.PATCHABLE, "rootfs"):
        (images / part).mkdir(parents=True)
    (images / "module" / "cma.c").write_text("good\n")
    (images / "dts" / NAME).write_text("good\n")
    (images / "rootfs" / "manifest.toml").write_text(MANIFEST)
    monkeypatch.setattr(project, "IMAGES", images)
    monkeypatch.setattr(patch_tree, "compile_dts", lambda text, tree, own, step: text.encode())
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        # Another uid has to get to the tree where nothing can be mounted.
        Path(name).chmod(0o711)
        yield World(Path(name))


def test_a_harmless_patch_is_built(world: World) -> None:
    world.shell("echo x >/dev/null; mkdir -p $PWD/obj/new; echo y >obj/new/file; rm -r obj/new")
    assert world.tree.steps == ["mm/cma.o"]


@pytest.mark.parametrize(
    "script",
    [
        "exec 9>>/proc/sys/kernel/core_pattern",
        "exec 9<>/proc/sys/kernel/modprobe",
        "echo c >/proc/sysrq-trigger",
        "echo x >/usr/bin/hostile && rm /usr/bin/hostile",
        "rm -f /usr/bin/gcc",
        "mv /bin/sh /bin/hostile",
        "echo x >/tmp/hostile; rm -f /tmp/hostile",
        "mkdir /var/tmp/hostile; rmdir /var/tmp/hostile",
        "ln -s /proc/sys/kernel/core_pattern here; exec 9>>here",
        "truncate -s 0 /etc/ld.so.cache",
        'perl -e "rename(\\"/usr\\", \\"/hostile\\")"',
    ],
)
def test_an_attempt_on_the_host_is_said(world: World, script: str) -> None:
    with pytest.raises(Contained, match="it tried to write outside its tree: /"):
        world.shell(script)
    assert not [p for p in ("/usr/bin/hostile", "/tmp/hostile") if Path(p).exists()]


@pytest.mark.parametrize("address", ["tcp/::1/22", "udp/2001:db8::1/53", "tcp/192.0.2.1/80"])
def test_the_network_is_not_there_and_that_is_said(world: World, address: str) -> None:
    with pytest.raises(Contained, match="it tried to reach the network"):
        world.shell(f"exec 9<>/dev/{address}")


def test_no_set_uid_shell_is_left(world: World) -> None:
    with pytest.raises(Contained, match="it tried to make a set-uid file"):
        world.shell("cp /bin/bash obj/shell; chmod 4755 obj/shell")
    shells = [path for path in world.tree.root.rglob("shell") if path.is_file()]
    assert shells
    assert not any(path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID) for path in shells)


def test_what_is_built_is_for_nobody_else(world: World) -> None:
    world.shell("umask 0; echo x >obj/open")
    assert world.tree.root.stat().st_mode & 0o077 in (0, 0o011)
    made = (world.tree.kernel.obj / "open").stat()
    assert made.st_uid == (confine.other_uid() or os.getuid())
    out = world.tmp_path / "out"
    assert all(path.stat().st_uid == os.getuid() for path in out.iterdir())


@pytest.mark.parametrize(
    "step",
    [
        "{victim}",
        "{up}",
        "away/precious.o",
        "./{up}",
        "mm/../{up}",
    ],
)
def test_a_path_in_the_output_is_none_of_the_host(world: World, step: str) -> None:
    up = os.path.relpath(world.victim, world.tree.kernel.obj)
    (world.tree.kernel.obj / "away").symlink_to(world.victim.parent)
    target = step.format(victim=world.victim, up=up)
    world.build(f"$(info $() $() CC      {target})", "$(info mm/x.c:1:1: warning: hello)")
    assert target in world.tree.steps
    after, steps = list(world.tree.warnings), list(world.tree.steps)
    before = world.tree.warnings_before(steps)
    assert world.victim.read_text() == "precious"
    assert {unnumbered(line) for line in after} == {"mm/x.c: warning: hello"}
    assert before == []


@pytest.mark.parametrize(
    "release",
    [
        r"6.1.192\377<b>",
        "../../../../etc",
        "6.1/../../x",
        "6.1 x",
        "",
        r"6.1\n6.2",
        "6" * 500,
        "-rf",
    ],
)
def test_a_release_that_is_none_is_a_fault_of_the_build(world: World, release: str) -> None:
    with pytest.raises(BuildError, match="release is no name of one"):
        world.shell(f'printf -- "{release}" >obj/include/config/kernel.release')


@pytest.mark.parametrize(
    "made", ["obj/include/config/kernel.release", "obj/System.map", "obj/vmlinux"]
)
@pytest.mark.parametrize("what", ["ln -s {victim}", "ln -s /etc/passwd", "mkfifo", "mkdir"])
def test_what_is_no_plain_file_is_not_taken(world: World, made: str, what: str) -> None:
    # The Makefile would write into it; it is put there after that.
    command = what.format(victim=world.victim)
    with pytest.raises(BuildError, match="was not made, or is no plain file"):
        world.build(
            "modules: hostile",
            f"hostile: obj/arch/arm/boot/zImage; rm -rf {made}; {command} {made}",
        )
    assert world.victim.read_text() == "precious"


def test_a_makefile_that_becomes_a_pipe_stops_nobody(world: World) -> None:
    with contextlib.suppress(BuildError):
        world.build(
            "modules: hostile",
            "hostile: obj/arch/arm/boot/zImage; rm Makefile; mkfifo Makefile",
        )
    world.tree.restore()
    assert (world.tree.kernel.tree / "Makefile").read_text() == KERNEL


def test_it_ends_nobody_and_leaves_nobody(world: World) -> None:
    with contextlib.suppress(BuildError):
        world.shell("(setsid sleep 600 &) >/dev/null 2>&1; kill -9 -1; kill -9 1")
    root = str(world.tree.root).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Of those that are left, none is in the tree.
            assert root not in os.fsencode((process / "cwd").readlink())


def test_all_of_it_is_made_good(world: World) -> None:
    with contextlib.suppress(BuildError):
        world.shell("rm -rf mm obj; ln -s / mm; mkdir -m 0 obj; chmod 0 Makefile; touch new")
    world.tree.restore()
    tree = world.tree.kernel.tree
    assert sorted(path.name for path in tree.iterdir()) == ["Makefile", "arch", "mm", "obj"]
    assert (tree / "mm" / "cma.c").read_text() == "good\n"
    assert world.victim.read_text() == "precious"
    world.shell("true")
