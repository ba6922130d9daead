# SPDX-License-Identifier: MIT
"""Reads and writes device registers from the host, as a processor would: QEMU's qtest protocol
(QEMU ``softmmu/qtest.c``; in later versions ``system/qtest.c``), beside a guest that runs.
"""

from __future__ import annotations

import socket

from harness.machine.errors import MachineError

TIMEOUT = 10.0
"""Seconds for an answer, which takes less than a millisecond."""


class Bus:
    """A session over one end of a socket pair, whose other end QEMU has for its ``-qtest``."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._received = b""

    def read(self, address: int) -> int:
        """The register at a physical address, 32 bits. Raises `MachineError`."""
        return int(self._ask(f"readl {address:#x}"), 16)

    def write(self, address: int, value: int) -> None:
        """Writes it. Raises `MachineError`."""
        self._ask(f"writel {address:#x} {value:#x}")

    def _ask(self, line: str) -> str:
        self._peer.settimeout(TIMEOUT)
        try:
            self._peer.sendall(f"{line}\n".encode())
            while b"\n" not in self._received:
                piece = self._peer.recv(4096)
                if not piece:
                    raise MachineError(f"QEMU ended at {line!r} on its bus")
                self._received += piece
        except OSError as error:
            raise MachineError(f"QEMU does not answer {line!r} on its bus: {error}") from error
        answer, _, self._received = self._received.partition(b"\n")
        first, _, rest = answer.decode("ascii", "replace").partition(" ")
        if first != "OK":
            raise MachineError(f"QEMU answers {answer!r} to {line!r} on its bus")
        return rest
