# SPDX-License-Identifier: MIT
"""Looks at a PL011 UART of the guest's from the host: is its driver there, has it lost its way?

Registers: ARM DDI 0183. Behaviour: QEMU ``hw/char/pl011.c``, Linux
``drivers/tty/serial/amba-pl011.c``. What is sent before the driver runs waits in the UART's buffer
of 16 bytes and behind it. The driver empties the buffer once when it starts
(``pl011_enable_interrupts()``), and QEMU fills it as fast; an interrupt is raised only when the
first byte comes into an empty buffer. So with more waiting than the driver takes at its start, none
is raised ever again, and the guest is deaf on that line for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable

DATA, FLAGS, ENABLED, RAISED = 0x00, 0x18, 0x38, 0x3C
"""UARTDR, UARTFR, UARTIMSC and UARTRIS, as offsets. Reading the first takes a byte away."""
EMPTY = 1 << 4
"""In UARTFR: the receive buffer is empty."""
RECEIVE = 1 << 4
"""In UARTIMSC and UARTRIS: the receive interrupt."""
MOST = 4096
"""Bytes that are taken out of a UART at once."""


class Uart:
    """One UART. `monitor` runs a line of QEMU's human monitor, `base` is a physical address."""

    def __init__(self, monitor: Callable[[str], str], base: int) -> None:
        self._monitor = monitor
        self._base = base

    def listening(self) -> bool:
        """Whether the guest's driver takes what is sent. Raises `MachineError`."""
        return bool(self._read(ENABLED) & RECEIVE)

    def rescue(self) -> int:
        """Takes away the bytes in front of a driver that is not told of them any more; returns how
        many. Where all is well it takes none. Raises `MachineError`.
        """
        taken = 0
        if self.listening() and not self._read(RAISED) & RECEIVE:
            while taken < MOST and not self._read(FLAGS) & EMPTY:
                self._read(DATA)
                taken += 1
        return taken

    def _read(self, register: int) -> int:
        answer = self._monitor(f"xp /1wx {self._base + register:#x}")
        match = re.search(r": 0x([0-9a-f]{8})", answer)
        # QEMU always answers so; a UART that cannot be read is taken for one that listens.
        return int(match[1], 16) if match else RECEIVE
