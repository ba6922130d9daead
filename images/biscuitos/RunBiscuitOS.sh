#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the system with its console on the terminal (leave: Ctrl-A X).
ROOT=$(cd "$(dirname "$0")" && pwd)
ARCH=arm
FS_TYPE=ext4
RAM_SIZE=512
MACH=vexpress-a9
LINUX_DIR=${ROOT}/linux/linux/arch
CMDLINE="earlycon root=/dev/vda rw rootfstype=${FS_TYPE} console=ttyAMA0 init=/linuxrc loglevel=8"

do_running()
{
	[ "${1}X" = "debugX" ] && ARGS="-s -S"
	exec qemu-system-arm ${ARGS} \
	-M ${MACH} \
	-m ${RAM_SIZE}M \
	-kernel "${LINUX_DIR}/${ARCH}/boot/zImage" \
	-dtb "${LINUX_DIR}/${ARCH}/boot/dts/vexpress-v2p-ca9.dtb" \
	-device virtio-blk-device,drive=hd0 \
	-drive file="${ROOT}/@IMAGE@,format=raw,id=hd0,if=none" \
	-nographic \
	-append "${CMDLINE}"
}

do_running "$1"
