# SPDX-License-Identifier: MIT
"""The machine's network card: a wire to this host's loopback, and to nowhere else.

The card is the board's own LAN9118 on QEMU's user network with ``restrict=on``: what the guest
sends out of itself ends there. One port is forwarded inwards, and QEMU chooses its number, so that
no number is free when it is chosen and taken when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.machine.errors import MachineError

HOST = "127.0.0.1"
GUEST = "10.0.2.15"
"""The guest's address; ``images/rootfs/ssh`` gives it to the card."""
GATEWAY = "10.0.2.2"
"""This host as the guest would see it, were it allowed to."""
_FORWARD = re.compile(
    rf"TCP\[HOST_FORWARD\]\s+\d+\s+{re.escape(HOST)}\s+(\d+)\s+{re.escape(GUEST)}\s+22\s"
)


def card() -> list[str]:
    """QEMU's arguments. Templates and clones must have the same: the card's state is migrated."""
    forward = f"hostfwd=tcp:{HOST}:0-{GUEST}:22"
    return ["-nic", f"user,model=lan9118,restrict=on,ipv6=off,{forward}"]


def forwarded_port(monitor: Callable[[str], str]) -> int:
    """The port of this host's loopback behind which the guest's ssh server is.

    `monitor` runs a line of QEMU's human monitor. Raises `MachineError` where QEMU forwards none.
    """
    answer = monitor("info usernet")
    match = _FORWARD.search(answer)
    if match is None:
        raise MachineError(f"QEMU forwards no port to the guest's ssh server:\n{answer.strip()}")
    return int(match[1])
