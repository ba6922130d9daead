# SPDX-License-Identifier: MIT
"""Stops single processors of a running machine at chosen places, through QEMU's gdb stub.

For races: one processor is held between two steps that a lock must keep together, and the others
run on. The protocol is gdb's (GDB manual, appendix "Remote Serial Protocol"); QEMU offers
``vCont`` for single processors (QEMU ``gdbstub.c``).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Iterator

from harness.machine.errors import MachineError
from harness.machine.machine import Machine

_numbers = itertools.count()
ANSWER = 10.0
"""Seconds for an answer of the stub, which needs milliseconds."""
LR = 14
"""The register with the return address at a function's first instruction (ARM)."""
_STOP = re.compile(r"T[0-9a-f]{2}thread:0*([0-9a-f]+)")


class GdbStub:
    """A session with the stub. The machine is stopped while nothing `resume`s it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def resume(self, processor: int | None = None) -> None:
        """Lets all processors run, or one alone (numbered from 1)."""
        self._send("vCont;c" if processor is None else f"vCont;c:{processor:x}")

    def stopped(self, seconds: float) -> int | None:
        """The processor that has come to a breakpoint within so many seconds; None where none has:
        all run on.
        """
        try:
            answer = self._read(seconds)
        except TimeoutError:
            return None
        match = _STOP.match(answer)
        if match is None:
            raise MachineError(f"QEMU's gdb stub answers {answer!r} to a request to go on")
        return int(match[1], 16)

    def interrupt(self) -> None:
        """Stops all processors."""
        self._connection.sendall(b"\x03")
        self.stopped(ANSWER)

    def break_at(self, address: int) -> None:
        """Sets a breakpoint: a processor that reaches the address stops."""
        self._ask(f"Z0,{address:x},4")

    def clear(self, address: int) -> None:
        """Removes the breakpoint at the address."""
        self._ask(f"z0,{address:x},4")

    def register(self, processor: int, number: int) -> int:
        """One of r0 to r15 of a stopped processor; the kernel here is little endian."""
        self._ask(f"Hg{processor:x}")
        return int.from_bytes(bytes.fromhex(self._question("g"))[4 * number :][:4], "little")

    def detach(self) -> None:
        """Ends the session; the machine runs on."""
        self._ask("D")

    def _ask(self, packet: str) -> None:
        answer = self._question(packet)
        if answer != "OK":
            raise MachineError(f"QEMU's gdb stub answers {answer!r} to {packet!r}")

    def _question(self, packet: str) -> str:
        self._send(packet)
        answer = self._read(ANSWER)
        while _STOP.match(answer):
            # That the connection has stopped the machine is said unasked.
            answer = self._read(ANSWER)
        return answer

    def _send(self, packet: str) -> None:
        data = packet.encode()
        self._connection.sendall(b"$" + data + b"#%02x" % (sum(data) % 256))

    def _read(self, seconds: float) -> str:
        """The next packet. Raises `TimeoutError`."""
        self._connection.settimeout(seconds)
        while not (match := re.search(rb"\$([^#]*)#[0-9a-f]{2}", self._received)):
            piece = self._connection.recv(4096)
            if not piece:
                raise MachineError("QEMU's gdb stub has closed the connection")
            self._received += piece
        self._received = self._received[match.end() :]
        self._connection.sendall(b"+")
        return match[1].decode("ascii", "replace")


@contextlib.contextmanager
def attached(machine: Machine) -> Iterator[GdbStub]:
    """A session; the machine is stopped from here on, and runs again after the block.

    A machine that was started to wait for gdb is taken where it waits: before its first step.
    """
    if machine.gdb_socket is not None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(machine.gdb_socket))
            with _session(connection) as stub:
                yield stub
        return
    name = f"gdbstub-{next(_numbers)}"  # whether the end of a session removes it is QEMU's affair
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            machine.qmp.add_socket(name, theirs)
        try:
            machine.qmp.monitor(f"gdbserver chardev:{name}")
            with _session(ours) as stub:
                yield stub
        finally:
            machine.qmp.monitor("gdbserver none")


@contextlib.contextmanager
def _session(connection: socket.socket) -> Iterator[GdbStub]:
    stub = GdbStub(connection)
    try:
        yield stub
    finally:
        stub.detach()
