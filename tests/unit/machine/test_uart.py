# SPDX-License-Identifier: MIT
"""A UART as QEMU shows it: the driver's interrupt mask, and a driver that has gone deaf."""

from __future__ import annotations

import pytest

from harness.machine.uart import Uart

BASE = 0x10009000


class Pl011:
    """QEMU's monitor in front of a UART."""

    def __init__(self, waiting: int, enabled: bool, raised: bool) -> None:
        self.waiting, self.enabled, self.raised = waiting, enabled, raised

    def monitor(self, line: str) -> str:
        """``xp /1wx ADDRESS``."""
        register = int(line.split()[-1], 16) - BASE
        value = {
            0x18: 0x10 if not self.waiting else 0x40,
            0x38: 0x50 if self.enabled else 0,
            0x3C: 0x30 if self.raised else 0x20,
        }.get(register, 0x41)
        if register == 0:
            self.waiting -= 1
        return f"{BASE + register:016x}: 0x{value:08x}\r\n"


@pytest.mark.parametrize("enabled", [False, True])
def test_a_driver_listens_once_it_has_enabled_its_interrupt(enabled: bool) -> None:
    assert Uart(Pl011(0, enabled, False).monitor, BASE).listening() is enabled


@pytest.mark.parametrize(
    ("enabled", "raised", "taken"), [(True, False, 33), (True, True, 0), (False, False, 0)]
)
def test_only_a_deaf_driver_is_rescued(enabled: bool, raised: bool, taken: int) -> None:
    pl011 = Pl011(33, enabled, raised)
    assert Uart(pl011.monitor, BASE).rescue() == taken
    assert pl011.waiting == 33 - taken
