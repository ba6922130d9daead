# SPDX-License-Identifier: MIT
"""A guest's ssh server, played by paramiko on a socket of this host; commands run in its shell."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from harness.guest.ssh.client import Client
from harness.guest.ssh.keys import Keys
from harness.guest.ssh.watch import Watch
from harness.machine.crash import Crash, CrashWatcher
from harness.machine.errors import GuestCrash, QemuDied
from harness.machine.transcript import Transcript

Play = Callable[["FakeGuest", paramiko.Channel, str], None]


def in_a_shell(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
    """Runs the command as a guest does, in `guest.directory`."""
    with subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=guest.directory,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            while piece := channel.recv(65536):
                shell.stdin.write(piece)
        with contextlib.suppress(BrokenPipeError):
            shell.stdin.close()
        channel.sendall(shell.stdout.read())
        channel.sendall_stderr(shell.stderr.read())
        channel.send_exit_status(shell.wait())


class _Policy(paramiko.ServerInterface):
    def __init__(self, guest: FakeGuest) -> None:
        self._guest = guest

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(OPEN_SUCCEEDED)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "root" and key == self._guest.keys.user
        return int(AUTH_SUCCESSFUL if good else AUTH_FAILED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def play() -> None:
            with contextlib.suppress(OSError, EOFError), channel:
                self._guest.play(self._guest, channel, command.decode())

        threading.Thread(target=play, daemon=True).start()
        return True


class FakeGuest:
    """A server, and the machine around it: a kernel log that can show a crash, or end."""

    def __init__(self, directory: Path, play: Play = in_a_shell) -> None:
        self.directory = directory
        self.play = play
        self.keys = Keys.fresh()
        self.transcript = Transcript(None)
        self.log = self.transcript.stream("ttyAMA0")
        self.watcher = CrashWatcher(self.log)
        self.crashes: list[Crash] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._peers: list[socket.socket] = []
        self.closed = threading.Event()
        """Set when the test ends."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                self._peers.append(peer)
                self.greet(peer)

    def greet(self, peer: socket.socket) -> None:
        """Answers a connection."""
        transport = paramiko.Transport(peer)
        transport.add_server_key(self.keys.host)
        with contextlib.suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=_Policy(self), event=threading.Event())

    def guard(self) -> None:
        """As `Machine.guard`."""
        if self.watcher.head_seen:
            crash = self.watcher.take()
            self.crashes.append(crash)
            raise GuestCrash(crash)
        if self.log.closed:
            raise QemuDied("QEMU ended", -9, "")

    @property
    def watch(self) -> Watch:
        """What a client looks at."""
        return Watch(self.guard, self.log, self.crashes, lambda: "tails")

    def client(self, keys: Keys | None = None, timeout: float = 10) -> Client:
        """A connection, as a machine makes it."""
        return Client(self.port, keys or self.keys, self.watch, timeout)

    def panic(self) -> None:
        """The kernel crashes: its log says so, and the network answers no more."""
        self.log.append(b"[    1.000000] Kernel panic - not syncing: played\n")
        self.log.append(b"[    1.000001] ---[ end Kernel panic - not syncing: played ]---\n")

    def drop(self) -> None:
        """Cuts all connections."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def stop_listening(self) -> None:
        """Ends all connections, and takes no more."""
        with contextlib.suppress(OSError):  # wakes the thread, which closing does not
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        self.drop()

    def close(self) -> None:
        """Ends all."""
        self.closed.set()
        self.stop_listening()
        for peer in self._peers:
            peer.close()
        self.transcript.close()


@contextlib.contextmanager
def fake_guest(directory: Path, play: Play = in_a_shell) -> Iterator[FakeGuest]:
    """A guest that ends with the block."""
    guest = FakeGuest(directory, play)
    try:
        yield guest
    finally:
        guest.close()
