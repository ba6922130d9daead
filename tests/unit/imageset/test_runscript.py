# SPDX-License-Identifier: MIT
"""What RunBiscuitOS.sh says of QEMU's arguments, in the forms in which it is written."""

from __future__ import annotations

import pytest

from harness.imageset.runscript import RunScript

HEAD = """#!/bin/bash
ROOT=/home/user/BiscuitOS/output/linux-5.0-arm32
QEMUT=${ROOT}/qemu-system/qemu-system/arm-softmmu/qemu-system-arm
ARCH=arm
FS_TYPE=ext4
FS_TYPE_TOOLS=mkfs.ext4
ROOTFS_SIZE=150
RAM_SIZE=512
LINUX_DIR=${ROOT}/linux/linux/arch
"""
DISK = (
    HEAD
    + """CMDLINE="earlycon root=/dev/vda rw rootfstype=${FS_TYPE} console=ttyAMA0 loglevel=8"
do_running()
{
	[ ${1}X = "debug"X ] && ARGS+="-s -S "
	sudo ${QEMUT} ${ARGS} \\
	-M vexpress-a9 \\
	-m ${RAM_SIZE}M \\
	-kernel ${LINUX_DIR}/${ARCH}/boot/zImage \\
	-device virtio-blk-device,drive=hd1 \\
	-drive file=${ROOT}/Hardware/Freeze.img,format=raw,id=hd1 \\
	-device virtio-blk-device,drive=hd0 \\
	-drive file=${ROOT}/Hardware/BiscuitOS.img,format=raw,id=hd0 \\
	-nographic \\
	-append "${CMDLINE}"
}
"""
)
RAMDISK = (
    HEAD
    + """CMDLINE="earlycon root=/dev/ram0 rw rootfstype=${FS_TYPE} console=ttyAMA0 loglevel=8"
do_uboot()
{
	${QEMUT} -M vexpress-a9 -kernel ${UBOOT}/u-boot -m 256 -nographic
}
do_running()
{
	${QEMUT} \\
	-M vexpress-a9 \\
	-m ${RAM_SIZE}M \\
	-device virtio-blk-device,drive=hd1 \\
	-drive file=${ROOT}/Hardware/Freeze.img,format=raw,id=hd1 \\
	-append "${CMDLINE}" \\
	-initrd ${ROOT}/Hardware/BiscuitOS.img
}
"""
)


def test_a_root_disk_with_variables_in_variables() -> None:
    script = RunScript(DISK)
    assert script.append == ("earlycon root=/dev/vda rw rootfstype=ext4 console=ttyAMA0 loglevel=8")
    assert script.memory_mib == 512
    assert not script.ramdisk


def test_a_ramdisk_beside_another_disk_and_a_boot_loader() -> None:
    script = RunScript(RAMDISK)
    assert script.ramdisk
    assert script.append is not None
    assert "root=/dev/ram0 rw rootfstype=ext4" in script.append
    assert script.memory_mib == 512, "and not what u-boot gets"


def test_the_command_s_own_arguments_come_before_the_variables() -> None:
    text = DISK.replace('"${CMDLINE}"', "'root=/dev/vda cma=16M'").replace("${RAM_SIZE}M", "1G")
    script = RunScript(text)
    assert script.append == "root=/dev/vda cma=16M"
    assert script.memory_mib == 1024


def test_a_line_in_a_comment_says_nothing() -> None:
    script = RunScript(DISK.replace("CMDLINE=", '#CMDLINE="root=/dev/nfs"\nCMDLINE='))
    assert script.append is not None
    assert "nfs" not in script.append


@pytest.mark.parametrize("value", ["root=$1", "root=$(rootdev)", "root=`rootdev`", "$NOWHERE x"])
def test_what_only_a_shell_could_know_is_not_guessed(value: str) -> None:
    script = RunScript(f'CMDLINE="{value}"\nqemu-system-arm -M x -append "$CMDLINE"\n')
    assert script.append is None


def test_variables_in_a_circle_end() -> None:
    assert RunScript("CMDLINE=$A\nA=$B\nB=$A\n").append is None


@pytest.mark.parametrize(("given", "mib"), [("256", 256), ("size=1G", 1024), ("$X", None)])
def test_ram_in_all_its_units(given: str, mib: int | None) -> None:
    assert RunScript(f"qemu-system-arm -M vexpress-a9 -m {given} -append x\n").memory_mib == mib


def test_no_script_says_nothing() -> None:
    script = RunScript("")
    assert (script.append, script.memory_mib, script.ramdisk) == (None, None, False)
