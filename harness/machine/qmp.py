# SPDX-License-Identifier: MIT
"""QMP over a socket pair: no path, no port, nobody else can be at the other end.

Protocol: QEMU ``docs/interop/qmp-spec.rst``, through the library ``qemu.qmp``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from harness.machine.abilities import Abilities
from harness.machine.errors import MachineError
from harness.machine.iothread import IoThread

# Errors are raised; the library's own log would only repeat them on stderr.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False


class Qmp:
    """A QMP session."""

    def __init__(self, io: IoThread, peer: socket.socket, name: str) -> None:
        self._io = io
        self._peer = peer
        self._client = QMPClient(name)
        self._watch: asyncio.Task[None] | None = None
        self._shutdown_reason: str | None = None
        self._shutdown = asyncio.Event()
        self._migration = asyncio.Event()
        self._migration_status = "none"

    def connect(self, timeout: float) -> None:
        """Greets and negotiates. Raises `MachineError` where QEMU does not answer."""
        try:
            self._io.run(self._connect(), timeout)
        except (TimeoutError, QMPError, OSError) as error:
            raise MachineError(f"QEMU's control socket does not answer: {error!r}") from error

    async def _connect(self) -> None:
        self._watch = asyncio.ensure_future(self._watch_events())
        await self._client.connect(self._peer)

    async def _watch_events(self) -> None:
        async for event in self._client.events:
            if event["event"] == "SHUTDOWN":
                self._shutdown_reason = event["data"]["reason"]  # type: ignore[index]
                self._shutdown.set()
            elif event["event"] == "MIGRATION":
                self._migration_status = event["data"]["status"]  # type: ignore[index]
                if self._migration_status in ("completed", "failed", "cancelled"):
                    self._migration.set()

    def shutdown_reason(self, timeout: float) -> str | None:
        """What QEMU's SHUTDOWN event said; None where none comes within `timeout` seconds.

        The event is sent before QEMU ends, and may be read after its end was noticed.
        """
        with contextlib.suppress(TimeoutError):
            self._io.run(self._shutdown.wait(), timeout)
        return self._shutdown_reason

    def migration_capabilities(self, *names: str) -> None:
        """Turns them on. ``x-ignore-shared`` leaves RAM that is a shared file out of the stream."""
        wanted = [{"capability": name, "state": True} for name in names]
        self.execute("migrate-set-capabilities", capabilities=wanted)

    def migrate(self, command: str, descriptor: int, to_file: bool) -> None:
        """Begins ``migrate`` or ``migrate-incoming`` with an open file, which QEMU gets a copy of.

        `to_file`: by ``file:`` (see `Abilities.state_to_file`), else by ``fd:``.
        """
        if to_file:
            number = self._with_descriptor(descriptor, "add-fd")["fdset-id"]
            self.execute(command, uri=f"file:/dev/fdset/{number}")
        else:
            self._with_descriptor(descriptor, "getfd", fdname="state")
            self.execute(command, uri="fd:state")

    def _with_descriptor(self, descriptor: int, command: str, **arguments: object) -> Any:
        """Runs a command that takes a descriptor; QEMU's copy of it is sent along."""
        self._io.run(self._send(descriptor), 10)
        return self._run(command, arguments, 10)

    async def _send(self, descriptor: int) -> None:
        self._client.send_fd_scm(descriptor)

    def abilities(self) -> Abilities:
        """What this QEMU can do."""
        return Abilities.of(self.execute)

    def add_socket(self, name: str, theirs: socket.socket, *, server: bool = False) -> None:
        """Makes a chardev `name` of the other end of a socket pair, or of a `server`: a socket that
        listens.
        """
        self._with_descriptor(theirs.fileno(), "getfd", fdname=name)
        address = {"type": "fd", "data": {"str": name}}
        data: dict[str, object] = {"addr": address, "server": server}
        if server:
            data["wait"] = False
        backend = {"type": "socket", "data": data}
        self.execute("chardev-add", id=name, backend=backend)

    def wait_migrated(self, timeout: float) -> str:
        """Waits for the migration under way to end; returns its status (``completed``, …)."""
        with contextlib.suppress(TimeoutError):  # the status says how far it came
            self._io.run(self._migration.wait(), timeout)
        return self._migration_status

    def execute(self, command: str, timeout: float = 10, **arguments: object) -> Any:
        """Runs a command and returns its answer. Raises `MachineError` with QEMU's message."""
        return self._run(command, arguments, timeout)

    def _run(self, command: str, arguments: dict[str, object], timeout: float) -> Any:
        try:
            return self._io.run(self._client.execute(command, arguments or None), timeout)
        except ExecuteError as error:
            raise MachineError(f"QEMU refuses {command} {arguments}: {error}") from error
        except TimeoutError as error:
            raise MachineError(f"QEMU does not answer {command} within {timeout} s") from error
        except QMPError as error:
            raise MachineError(f"QEMU's control connection is lost ({command}): {error}") from error

    def monitor(self, line: str) -> str:
        """Runs a line of the human monitor, for what QMP itself does not offer (``xp``,
        ``info``).
        """
        return str(self._run("human-monitor-command", {"command-line": line}, 10))

    def close(self) -> None:
        """Ends the session; QEMU's death before it is no error."""
        try:
            self._io.run(self._close(), 5)
        except (TimeoutError, QMPError, OSError, EOFError):
            self._peer.close()

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError):  # QEMU may have ended first
            await self._client.disconnect()
        self._peer.close()
