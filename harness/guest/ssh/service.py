# SPDX-License-Identifier: MIT
"""A machine's ssh, connected at its first use and not before."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from harness.errors import HarnessError, UserError
from harness.guest.ssh.errors import SshError, WrongGuest
from harness.guest.ssh.watch import Watch
from harness.imageset.features import Feature
from harness.machine.agent import AgentChannel
from harness.machine.channel import CommandResult
from harness.machine.errors import GuestFileError, GuestTimeout
from harness.machine.machine import Machine
from harness.machine.network import forwarded_port

if TYPE_CHECKING:
    from harness.guest.ssh.client import Client
    from harness.guest.ssh.keys import Keys

TIMEOUT = 30.0
"""Seconds for the server to be there and to let us in; on a loaded host ten times the usual."""
WARM_TIMEOUT = 10.0
NONCE = "/run/harness/nonce"
"""Where the agent leaves the machine's nonce, as it knows it."""
HOST_KEY = "/etc/dropbear/dropbear_ed25519_host_key"
AUTHORIZED = "/root/.ssh/authorized_keys"
STATE = "/run/harness/ssh"
"""What ``images/rootfs/ssh`` says: ``up``, or why it cannot be. Beside it are the server's pid,
once it listens, and its log."""


class Ssh:
    """The way to one machine's ssh server.

    The first use asks the machine's command channel, so no other thread may be using that; later
    ones may come from any thread.
    """

    def __init__(self, machine: Machine, timeout: float = TIMEOUT) -> None:
        self._machine = machine
        self._timeout = timeout
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._keys: Keys | None = None
        there = Feature.SSH in machine.config.images.features
        self._absent = "" if there and self._agent else "no ssh server"
        self._watch = Watch(machine.guard, machine.log, machine.crashes, machine.silence)

    @property
    def _agent(self) -> AgentChannel | None:
        channel = self._machine.channel
        return channel if isinstance(channel, AgentChannel) else None

    @property
    def absent(self) -> str:
        """Why this guest has no ssh; empty where it has. Asks a guest that should have it."""
        if not self._absent and self._keys is None:
            with self._lock:
                self._arm()
        return self._absent

    def client(self) -> Client:
        """The connection, made where there is none that stands.

        Raises `UserError` where the guest has no ssh, `SshError` where it does not answer as it
        should, and the machine's crash or end.
        """
        with self._lock:
            if self.absent:
                raise UserError(
                    f"this guest has no ssh: the system under test has {self._absent}; put, get and"
                    " run work without, over the console"
                )
            if self._client is None or not self._client.alive:
                self._machine.guard()
                self._client = self._connect()
            return self._client

    def run(self, command: str, timeout: float) -> CommandResult:
        """Runs a shell command; see `Client.run`. Its end is in the machine's history."""
        first = command.strip().partition("\n")[0][:120]
        history = self._machine.channel.history
        try:
            result = self.client().run(command, timeout)
        except Exception as error:
            history.append(f"ssh: {first}  -> {type(error).__name__}")
            raise
        history.append(f"ssh: {first}  -> {result.status}, {result.elapsed * 1e3:.0f} ms")
        return result

    def close(self) -> None:
        """Ends the connection; the next use makes a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _arm(self) -> None:
        """Gives the guest this machine's keys and its nonce, over the console."""
        from harness.guest.ssh.keys import Keys

        agent = self._agent
        if self._keys is not None or self._absent or agent is None:
            return
        keys = Keys.fresh()
        self._absent = self._await_server(agent)
        if self._absent:
            return
        agent.leave_nonce(NONCE, TIMEOUT)
        agent.put(HOST_KEY, keys.host_file, 0o600, TIMEOUT)
        agent.put(AUTHORIZED, keys.authorized.encode() + b"\n", 0o600, TIMEOUT)
        self._keys = keys

    def _await_server(self, agent: AgentChannel) -> str:
        """Returns once the server listens, or why it never will."""
        with contextlib.suppress(GuestFileError):
            # A clone's does already, and a file is read sooner than a shell has looked.
            agent.get(f"{STATE}.pid", TIMEOUT)
            return ""
        listens, fails = f"[ -s {STATE}.pid ]", f"grep -qs '^no ' {STATE}"
        try:
            agent.run(f"until {listens} || {fails}; do usleep 5000; done", self._timeout).check()
        except GuestTimeout as error:
            log = self._server_log()
            raise SshError(f"the guest's ssh server does not come up: {error}{log}") from None
        state = agent.get(STATE, TIMEOUT).decode("utf-8", "replace").strip()
        if state.startswith("no "):
            return f"{state}; its kernel needs CONFIG_SMSC911X for the board's network card"
        return ""

    def _connect(self) -> Client:
        from harness.guest.ssh.client import Client

        assert self._keys is not None
        port = forwarded_port(self._machine.qmp.monitor)
        try:
            client = Client(port, self._keys, self._watch, self._timeout)
        except SshError as error:
            raise type(error)(f"{error}{self._server_log()}") from None
        try:
            said = client.run(f'read -r nonce <{NONCE}; echo "$nonce"', TIMEOUT)
            nonce = said.text.strip()
            if nonce != self._machine.nonce:
                raise WrongGuest(self._wrong(port, nonce))
        except BaseException:
            client.abort()
            raise
        return client

    def _server_log(self) -> str:
        """What the guest's server said last, for an error; empty where it cannot be asked."""
        try:
            log = self._machine.channel.get(f"{STATE}.log", 5).decode("utf-8", "replace")
        except HarnessError:
            return ""
        return "\nlast of the guest's ssh server:\n" + "\n".join(
            f"    {line}" for line in log.splitlines()[-5:]
        )

    def _wrong(self, port: int, nonce: str) -> str:
        return (
            f"the guest that answers over ssh at port {port} is not this machine's: its nonce is"
            f" {nonce or 'empty'!r}; this machine's is {self._machine.nonce!r}, as its own console"
            f" says (QEMU {self._machine.pid}). Nothing of yours was run in it"
        )


def warm(machine: Machine) -> None:
    """Before a machine is frozen: has it serve one session, so that its clones do not pay for the
    pages that this brings in, and takes back the keys that were given for it.
    """
    if Feature.SSH not in machine.config.images.features:
        return
    ssh = Ssh(machine, WARM_TIMEOUT)
    # A user's kernel may not get this far, and be fit for all but ssh. Who asks for that is told.
    with contextlib.suppress(SshError, GuestTimeout):
        if ssh.absent:
            return
        ssh.run("true", WARM_TIMEOUT)
    ssh.close()
    # No session may be under way when the state is written: its peer does not exist in a clone.
    machine.channel.run(
        f"rm -f {HOST_KEY} {AUTHORIZED} {NONCE}\n"
        "while set -- $(pidof dropbear); [ $# -gt 1 ]; do usleep 5000; done",
        TIMEOUT,
    ).check()
