# SPDX-License-Identifier: MIT
"""What is found in a BiscuitOS output tree, and what is said of one that is not whole."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from harness.board import DISK_APPEND
from harness.errors import UserError
from harness.imageset import preflight, zimage
from harness.imageset.biscuitos import find
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet

EXT4 = bytes(0x438) + b"\x53\xef" + bytes(64)
SCRIPT = """#!/bin/bash
ROOT=/home/user/BiscuitOS
RAM_SIZE=256
#CMDLINE="root=/dev/ram0 rw"
CMDLINE="earlycon root=/dev/vda rw rootfstype=ext4 console=ttyAMA0 init=/linuxrc loglevel=8"
qemu-system-arm -M vexpress-a9 -m ${RAM_SIZE}M -append "${CMDLINE}"
"""


def packed() -> bytes:
    head = bytearray(0x40)
    head[0x24:0x30] = struct.pack("<3I", zimage.MAGIC, 0, 0x40)
    return bytes(head)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A whole tree of the newer layout; its directory ``linux-5.0-arm32``."""
    root = tmp_path / "BiscuitOS" / "output" / "linux-5.0-arm32"
    boot = root / "linux" / "linux" / "arch" / "arm" / "boot"
    (boot / "dts").mkdir(parents=True)
    (boot / "zImage").write_bytes(packed())
    (boot / "dts" / "vexpress-v2p-ca9.dtb").write_bytes(b"")
    (root / "Hardware").mkdir()
    (root / "Hardware" / "BiscuitOS.img").write_bytes(EXT4)
    for name, file in (("module", "cma.ko"), ("app", "CMA_area_app-0.0.1")):
        package = root / "package" / f"CMA_area_{name}-0.0.1" / f"CMA_area_{name}-0.0.1"
        package.mkdir(parents=True)
        (package / file).write_bytes(b"\0CMA_demo\0")
    (root / "RunBiscuitOS.sh").write_text(SCRIPT)
    return root


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_a_tree_is_found_from_each_directory_above_it(tree: Path, above: int) -> None:
    directory = [tree, *tree.parents][above]
    found = find(directory)
    assert found.root == tree
    assert found.image == tree / "Hardware" / "BiscuitOS.img"
    assert found.module is not None
    assert found.module.name == "cma.ko"
    assert found.app is not None


def test_the_older_layout_is_found(tree: Path) -> None:
    (tree / "Hardware" / "BiscuitOS.img").rename(tree / "BiscuitOS.img")
    assert find(tree).image == tree / "BiscuitOS.img"


def test_a_device_tree_may_be_in_arm(tree: Path) -> None:
    dts = tree / "linux" / "linux" / "arch" / "arm" / "boot" / "dts"
    (dts / "arm").mkdir()
    (dts / "vexpress-v2p-ca9.dtb").rename(dts / "arm" / "vexpress-v2p-ca9.dtb")
    assert find(tree).dtb.parent.name == "arm"


def test_of_two_device_trees_that_differ_none_is_guessed(tree: Path) -> None:
    dts = tree / "linux" / "linux" / "arch" / "arm" / "boot" / "dts"
    (dts / "arm").mkdir()
    (dts / "arm" / "vexpress-v2p-ca9.dtb").write_bytes(b"")
    assert find(tree).dtb.parent.name == "arm", "they are the same"
    (dts / "arm" / "vexpress-v2p-ca9.dtb").write_bytes(b"another")
    with pytest.raises(UserError, match=r"two device trees that differ, .*arm/vexp.* and .*--dtb"):
        find(tree)
    given = dts / "vexpress-v2p-ca9.dtb"
    assert find(tree, {"dtb": given}).dtb == given


def test_a_part_that_is_given_need_not_be_in_the_tree(tree: Path, tmp_path: Path) -> None:
    (tree / "linux" / "linux" / "arch" / "arm" / "boot" / "zImage").unlink()
    (tree / "Hardware" / "BiscuitOS.img").unlink()
    kernel, image = tmp_path / "zImage", tmp_path / "mine.img"
    kernel.write_bytes(packed())
    image.write_bytes(EXT4)
    found = find(tree, {"kernel": kernel, "disk": image})
    assert (found.kernel, found.image, found.ramdisk) == (kernel, image, False)
    assert any(line.endswith(str(image)) for line in found.said())
    found = find(tree, {"kernel": kernel, "initrd": image})
    assert found.ramdisk
    assert "root=/dev/ram0" in found.append, "the script's command line is for its own image"


def test_a_ramdisk_with_u_boot_s_header_is_found(tree: Path) -> None:
    (tree / "Hardware" / "BiscuitOS.img").unlink()
    (tree / "ramdisk.img").write_bytes(b"\x27\x05\x19\x56" + bytes(60) + EXT4)
    (tree / "RunBiscuitOS.sh").unlink()
    found = find(tree)
    assert (found.image.name, found.ramdisk) == ("ramdisk.img", True)
    assert "root=/dev/ram0" in found.append


def test_a_kernel_that_is_none_is_told(tree: Path) -> None:
    (tree / "linux" / "linux" / "arch" / "arm" / "boot" / "zImage").write_bytes(b"text")
    with pytest.raises(UserError, match="is no ARM zImage but something else"):
        find(tree).image_set()


def test_the_run_script_says_command_line_and_ram(tree: Path) -> None:
    found = find(tree)
    assert found.memory_mib == 256
    assert found.append.startswith("earlycon root=/dev/vda rw rootfstype=ext4")
    assert found.append.endswith("panic=-1"), "or a panic would be a silence"
    assert not found.ramdisk


def test_without_a_script_a_file_system_is_a_disk(tree: Path) -> None:
    (tree / "RunBiscuitOS.sh").unlink()
    found = find(tree)
    assert (found.append, found.memory_mib, found.ramdisk) == (DISK_APPEND, 512, False)


def test_a_script_may_load_the_image_as_a_ramdisk(tree: Path) -> None:
    text = "# -drive x\nqemu-system-arm -initrd $ROOT/BiscuitOS.img -append root=/dev/ram0\n"
    (tree / "RunBiscuitOS.sh").write_text(text)
    found = find(tree)
    assert found.ramdisk
    assert "root=/dev/ram0" in found.append


def test_what_is_no_file_system_is_a_ramdisk(tree: Path) -> None:
    (tree / "Hardware" / "BiscuitOS.img").write_bytes(gzip.compress(EXT4))
    assert find(tree).ramdisk


def test_packages_that_were_not_built_are_the_image_s_own_affair(tree: Path) -> None:
    for path in (tree / "package").rglob("cma.ko"):
        path.unlink()
    found = find(tree)
    assert found.module is None
    assert any("root image's own" in line for line in found.said())


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        ("linux/linux/arch/arm/boot/zImage", "no kernel: there is no linux/linux/arch/arm"),
        ("linux/linux/arch/arm/boot/dts/vexpress-v2p-ca9.dtb", "no device tree"),
        ("Hardware/BiscuitOS.img", "no root image: there is no Hardware/BiscuitOS.img nor"),
    ],
)
def test_a_missing_part_is_named_and_where_it_was_looked_for(
    tree: Path, gone: str, what: str
) -> None:
    (tree / gone).unlink()
    with pytest.raises(UserError, match=what):
        find(tree)


def test_a_directory_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no BiscuitOS tree"):
        find(tmp_path)
    with pytest.raises(UserError, match="no such directory"):
        find(tmp_path / "nowhere")


def test_of_several_trees_one_must_be_named(tree: Path) -> None:
    (tree.parent / "linux-4.19-arm32").mkdir()
    with pytest.raises(UserError, match=r"several output trees.*linux-4\.19-arm32"):
        find(tree.parent)


def built(tmp_path: Path) -> ImageSet:
    for name in ("zImage", "board.dtb", "initrd"):
        (tmp_path / name).write_bytes(b"")
    return ImageSet(
        tmp_path / "zImage",
        tmp_path / "board.dtb",
        tmp_path / "initrd",
        features=frozenset({Feature.AGENT, Feature.CMA_DEBUGFS, Feature.TWO_AREAS}),
    )


def test_a_root_disk_takes_the_place_of_our_initrd(tmp_path: Path) -> None:
    disk = tmp_path / "root.img"
    disk.write_bytes(EXT4)
    images = preflight.with_given(built(tmp_path), {"disk": disk})
    assert images.initrd is None
    assert images.disk == disk
    assert images.append == DISK_APPEND
    assert Feature.AGENT not in images.features
    assert {Feature.CMA_DEBUGFS, Feature.TWO_AREAS} <= images.features


def test_a_file_system_as_initrd_is_mounted_as_a_ramdisk(tmp_path: Path) -> None:
    ramdisk = tmp_path / "ramdisk"
    ramdisk.write_bytes(EXT4)
    images = preflight.with_given(built(tmp_path), {"initrd": ramdisk})
    assert "root=/dev/ram0" in images.append


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"QFI\xfb" + bytes(2048), "qemu-img convert"), (bytes(4096), "a root disk is a raw ext4")],
)
def test_a_disk_that_is_none_is_told_before_the_boot(
    tmp_path: Path, content: bytes, what: str
) -> None:
    disk = tmp_path / "root.img"
    disk.write_bytes(content)
    with pytest.raises(UserError, match=what):
        preflight.with_given(built(tmp_path), {"disk": disk})


def test_a_moved_tree_whose_link_is_broken_gets_the_hint(tree: Path, tmp_path: Path) -> None:
    link = tree / "linux" / "linux"
    link.rename(tmp_path / "kernel")
    link.symlink_to("/home/somebody/kernel")
    for directory in (tree, tree.parent):
        with pytest.raises(UserError, match=r"link to /home/somebody/kernel.*ln -sfn"):
            find(directory)


def test_an_image_that_is_nothing_is_refused(tree: Path) -> None:
    (tree / "Hardware" / "BiscuitOS.img").write_bytes(b"\xa5" * 70000)
    with pytest.raises(UserError, match="neither a file system nor an initramfs"):
        find(tree)


def test_what_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", refuse)
        with pytest.raises(UserError, match=r"cannot read .*: Permission denied"):
            find(tree)
    (tree / "linux" / "linux" / ".config").mkdir()
    (tree / "RunBiscuitOS.sh").unlink()
    (tree / "RunBiscuitOS.sh").mkdir()
    assert find(tree).append, "a directory is no script"


@pytest.mark.parametrize("name", ["CMA_area_module-0.0.1.ko", "areas.ko"])
def test_the_driver_is_found_by_what_it_is(tree: Path, name: str) -> None:
    package = tree / "package" / "CMA_area_module-0.0.1" / "CMA_area_module-0.0.1"
    (package / "cma.ko").unlink()
    (package / "other.ko").write_bytes(b"\0hello\0")
    (package / name).write_bytes(b"\0CMA_demo\0find_cma_by_name\0")
    (package / "base.ko").write_bytes(b"\0CMA_demo\0dma_alloc_from_contiguous\0")
    found = find(tree)
    assert found.module == package / name


def test_what_the_script_starts_is_taken_also_in_a_copy_of_the_tree(tree: Path) -> None:
    kernel = tree / "linux" / "linux" / "arch" / "arm" / "boot" / "mine"
    kernel.write_bytes(packed())
    (tree / "Hardware" / "other.img").write_bytes(EXT4)
    there = "/home/user/BiscuitOS/output/linux-5.0-arm32"
    (tree / "RunBiscuitOS.sh").write_text(
        f"ROOT={there}\nqemu-system-arm -kernel $ROOT/linux/linux/arch/arm/boot/mine"
        " -dtb $ROOT/nowhere.dtb -drive file=$ROOT/Hardware/other.img,id=hd0 -append x\n"
    )
    found = find(tree)
    assert (found.kernel, found.image.name) == (kernel, "other.img")
    assert found.dtb.name == "vexpress-v2p-ca9.dtb"
    assert found.notes == (
        f"RunBiscuitOS.sh: -dtb {there}/nowhere.dtb is not there; what is built in the tree is"
        " taken",
    )
    assert any("nowhere.dtb" in line for line in found.said())
