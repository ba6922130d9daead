# SPDX-License-Identifier: MIT
"""Connects to a guest's ssh server, with the one host key that it may have, and runs commands."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shlex
import socket
from collections.abc import Callable
from typing import IO, Any

import paramiko

from harness.guest.ssh.errors import ForeignHostKey, SshError
from harness.guest.ssh.keys import KIND, Keys
from harness.guest.ssh.watch import SLICE, Watch, watched
from harness.machine.channel import CommandResult
from harness.machine.deadline import Deadline
from harness.machine.errors import GuestTimeout
from harness.machine.network import HOST

# Errors are raised; the library's own log would only repeat them on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

NEVER = 1e6
"""Seconds, for paramiko's own time-outs: waits here end by a deadline, or by the guest's end."""
KEEPALIVE = 15
"""Seconds between two signs of life on an idle connection."""
PIECE = 64 * 1024
WINDOW = 16 * 2**20
KILL_TIMEOUT = 10.0
"""Seconds that a guest gets to end a command that timed out, which may have all of its time."""
# What a guest under emulation computes fastest, of what Dropbear offers.
KEX = "curve25519-sha256@libssh.org"
CIPHER = "aes128-ctr"
MAC = "hmac-sha2-256"
# Dropbear ends a session's processes with nothing but the end of their output, so a command that
# timed out is found by a variable in its environment, which all its children inherit.
MARK = "HARNESS_RUN"


class Client:
    """One connection. Safe to use from several threads; a command each."""

    def __init__(self, port: int, keys: Keys, watch: Watch, timeout: float) -> None:
        """Connects within `timeout` seconds. Raises `ForeignHostKey`, `SshError`, and what befalls
        the machine.
        """
        self.port = port
        self._watch = watch
        self.ssh = paramiko.SSHClient()
        self.ssh.get_host_keys().add(f"[{HOST}]:{port}", KIND, keys.host)
        self.ssh.set_missing_host_key_policy(paramiko.RejectPolicy())
        self._socket: socket.socket | None = None
        self._aborted = False
        self._deadline = Deadline(timeout)
        what = f"connecting to the guest's ssh server ({HOST}:{port})"
        try:
            watched(lambda: self._connect(keys), what, self._deadline, watch, self.abort)
        except paramiko.BadHostKeyException as error:
            raise ForeignHostKey(self._foreign(error, keys)) from None
        except paramiko.AuthenticationException as error:
            raise SshError(
                f"{what}: it has this machine's host key and refuses its user key: {error}"
            ) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise SshError(
                f"{what}: what answers there is no ssh server of a guest, or closes the connection"
                f" ({error or type(error).__name__}); QEMU and the guest live."
                f"\n`ss -ltnp sport = :{port}` says who listens"
            ) from None
        except BaseException:
            self.abort()
            raise

    def _connect(self, keys: Keys) -> None:
        self._socket = socket.create_connection((HOST, self.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.ssh.connect(
                HOST,
                self.port,
                "root",
                pkey=keys.user,
                sock=self._socket,
                allow_agent=False,
                look_for_keys=False,
                banner_timeout=NEVER,
                auth_timeout=NEVER,
                channel_timeout=NEVER,
                transport_factory=_transport,
            )
            self._transport().set_keepalive(KEEPALIVE)
        except BaseException:
            self.abort()
            raise

    def _foreign(self, error: paramiko.BadHostKeyException, keys: Keys) -> str:
        return (
            f"what answers at {HOST}:{self.port} is not this machine's guest: its host key is"
            f" {error.key.get_name()} {error.key.fingerprint}, this machine's is"
            f" {KIND} {keys.host.fingerprint}, and no other is taken. Nothing was sent to it.\n"
            f"Either something in the guest has changed /etc/dropbear, or another program has the"
            f" port: `ss -ltnp sport = :{self.port}` says which"
        )

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as this end knows."""
        transport = self.ssh.get_transport()
        # After `abort`, the library's own thread takes a moment to see the end.
        return not self._aborted and transport is not None and transport.is_active()

    def _transport(self) -> paramiko.Transport:
        transport = self.ssh.get_transport()
        if transport is None:
            raise EOFError("the connection was closed")
        return transport

    def abort(self) -> None:
        """Ends the connection at once, and with it all that waits on it. Never blocks."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection."""
        self.ssh.close()

    def run(self, command: str, timeout: float) -> CommandResult:
        """Runs a shell command of its own shell; standard input is empty.

        Raises as `Channel.run`, and `SshError` where the connection ends without a reason.
        """
        deadline = Deadline(timeout)
        word = os.urandom(8).hex()
        # The last line makes the shell stay: a signal that ends a program is told to its parent.
        script = f"export {MARK}={word}\n{command}\nexit $?"
        out, err = bytearray(), bytearray()
        try:
            status = self.converse(script, command, deadline, out.extend, err.extend)
        except GuestTimeout:
            self._kill(word)
            raise
        return CommandResult(command, bytes(out), bytes(err), status, deadline.elapsed)

    def converse(
        self,
        script: str,
        what: str,
        deadline: Deadline,
        out: Callable[[bytes], object],
        err: Callable[[bytes], object],
        source: IO[bytes] | None = None,
        sent: Callable[[int], object] = lambda size: None,
    ) -> int:
        """Runs `script`, feeds it `source`, and hands its output on in pieces; its exit status.

        All calls of `out`, `err` and `sent` (bytes of `source` that went out with one piece) are
        made in one other thread. Raises as `run`.
        """
        channels: list[paramiko.Channel] = []

        def work() -> int:
            channel = self._transport().open_session(window_size=WINDOW, timeout=NEVER)
            channels.append(channel)
            with channel:
                channel.exec_command(script)
                _feed(channel, source, sent)
                return _drain(channel, out, err)

        def abort() -> None:
            # A guest that is dead does not close a channel; the socket ends all waits.
            if channels and self.alive and deadline.expired:
                channels[0].close()
            else:
                self.abort()

        try:
            status = watched(work, what, deadline, self._watch, abort)
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(what, str(error)) from None
        if status < 0:
            with self._watch.on() as guard:
                self._watch.befallen(guard)
            raise self._lost(what, "it ended without an exit status")
        return status

    def _lost(self, what: str, how: str) -> SshError:
        return SshError(
            f"the ssh connection was lost during `{what}` ({how}); QEMU and the guest's kernel"
            f" live, so look for what ended dropbear in the guest"
        )

    def _kill(self, word: str) -> None:
        """Ends a command that timed out, and all that it started, without waiting for long."""
        # Cut in two, so that this shell does not find itself. Again, for what was just started.
        pattern = f"{MARK}={word[:4]}''{word[4:]}"
        script = (
            f"for n in 1 2 3; do for p in $(grep -l {pattern} /proc/[0-9]*/cmdline"
            " /proc/[0-9]*/environ); do p=${p#/proc/}; kill -9 ${p%/*}; done; done 2>/dev/null"
        )
        with contextlib.suppress(Exception):
            self.converse(script, "kill", Deadline(KILL_TIMEOUT), len, len)


def _transport(sock: Any, /, **_options: Any) -> paramiko.Transport:
    """A transport that offers one algorithm of each kind, the one that the guest computes
    fastest. (`_options` are `SSHClient.connect`'s ways to forbid some, which it was not given.)
    """
    transport = paramiko.Transport(sock, default_window_size=WINDOW)
    offered = transport.get_security_options()
    offered.kex, offered.ciphers, offered.digests = (KEX,), (CIPHER,), (MAC,)
    offered.key_types = (KIND,)
    return transport


def _feed(
    channel: paramiko.Channel, source: IO[bytes] | None, sent: Callable[[int], object]
) -> None:
    """Sends all of `source`, then its end. A command that does not read on says why later."""
    try:
        while source is not None and (piece := source.read(PIECE)):
            channel.sendall(piece)
            sent(len(piece))
        channel.shutdown_write()
    except OSError:
        if not channel.closed and not channel.exit_status_ready():
            raise


def _drain(
    channel: paramiko.Channel, out: Callable[[bytes], object], err: Callable[[bytes], object]
) -> int:
    """Hands on all output up to its end; the exit status, -1 where none came."""
    ready = channel.fileno()
    while True:
        ended = channel.eof_received or channel.closed
        if channel.recv_ready():
            out(channel.recv(PIECE))
        elif channel.recv_stderr_ready():
            err(channel.recv_stderr(PIECE))
        elif ended:
            return channel.recv_exit_status()
        else:
            # The slice is for the end of a connection, which need not wake a channel.
            select.select([ready], [], [], SLICE)


def quoted(path: str) -> str:
    """A path, quoted for the guest's shell, that is not taken for an option."""
    return shlex.quote(path if path.startswith("/") else f"./{path}")
