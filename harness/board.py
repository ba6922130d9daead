# SPDX-License-Identifier: MIT
"""What the board is: QEMU's vexpress-a9, an ARM Versatile Express with a Cortex-A9 daughterboard.

Addresses, sizes and numbers are those of QEMU ``hw/arm/vexpress.c``; the kernel has them from its
device tree ``vexpress-v2p-ca9.dts``. Another board would be another module like this one.
"""

from __future__ import annotations

MACHINE = "vexpress-a9"
"""Its name in QEMU."""
QEMU = "qemu-system-arm"
"""The program that has it."""
MACHINE_OPTIONS = "secure=off"
"""With the security extensions of the interrupt controller a restored machine gets no interrupts.
"""

RAM_START = 0x60000000
"""Physical address of the first byte of RAM."""
RAM_MIB = range(64, 1024 + 1)
"""How much RAM it takes, in MiB. QEMU refuses more than 1 GiB; a kernel needs 64 to boot well."""
DEFAULT_MEMORY = 512
"""RAM of a machine in MiB, unless it is said otherwise."""
MAX_PROCESSORS = 4
"""Cortex-A9 cores."""

LOG = "ttyAMA0"
"""The kernel's console: the first of four PL011 UARTs."""
COMMANDS = "ttyAMA1"
"""The second one: our agent's line."""
UARTS = {LOG: 0x10009000, COMMANDS: 0x1000A000}
"""Physical addresses of their registers."""
EARLY_CONSOLE = "earlycon=pl011,0x10009000"
"""With this a kernel that dies before its serial driver is there is heard all the same."""

CONSOLE_APPEND = f"console={LOG} loglevel=8 panic=-1"
"""The part of the kernel command line that every system needs: its messages, and its end."""
INITRAMFS_APPEND = f"{CONSOLE_APPEND} rdinit=/sbin/init"
"""Kernel command line for our own root image."""
DISK_APPEND = f"earlycon root=/dev/vda rw rootfstype=ext4 {CONSOLE_APPEND} init=/linuxrc"
"""Kernel command line for a root disk, as BiscuitOS runs it."""
RAMDISK_APPEND = f"root=/dev/ram0 rw rootfstype=ext4 {CONSOLE_APPEND} init=/linuxrc"
"""The same for a root image that is loaded into RAM."""

DISPLAY = 0x10020000
"""Physical address of the PL111 on the daughterboard."""
DISPLAY_CONTROL = DISPLAY + 0x18
"""Its control register, LCDControl (ARM DDI 0293). A write of it starts the device's vertical
blank, which the state that QEMU saves does not have (QEMU ``hw/display/pl110.c``).
"""
