#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the system with its console on the terminal (leave: Ctrl-A X).
ROOT=$(cd "$(dirname "$0")" && pwd)
RAM_SIZE=512
CMDLINE="earlycon root=/dev/vda rw rootfstype=ext4 console=ttyAMA0 init=/linuxrc loglevel=8"
BOOT=$ROOT/linux/linux/arch/arm/boot

exec qemu-system-arm -M vexpress-a9 -m ${RAM_SIZE}M -nographic \
	-kernel "$BOOT/zImage" -dtb "$BOOT/dts/vexpress-v2p-ca9.dtb" \
	-device virtio-blk-device,drive=hd0 \
	-drive file="$ROOT/@IMAGE@,format=raw,id=hd0,if=none" \
	-append "$CMDLINE"
