# SPDX-License-Identifier: MIT
"""One QEMU vexpress-a9 with its streams, its control socket and its command channel."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pexpect

from harness.imageset.features import Feature
from harness.imageset.model import DEFAULT_MEMORY, ImageSet
from harness.machine import network, physical, process
from harness.machine.agent import AgentChannel
from harness.machine.channel import Channel
from harness.machine.crash import Crash, CrashWatcher
from harness.machine.deadline import Deadline
from harness.machine.errors import (
    GuestCrash,
    GuestStopped,
    GuestTimeout,
    MachineError,
    QemuDied,
)
from harness.machine.iothread import IoThread
from harness.machine.line import Line
from harness.machine.qmp import Qmp
from harness.machine.shell import ShellChannel
from harness.machine.symbols import Symbols
from harness.machine.transcript import Transcript

LOG, COMMANDS, STDERR = "ttyAMA0", "ttyAMA1", "qemu"
BOOT_TIMEOUT = 60.0
"""Seconds for a boot to the first answer; a loaded host takes ten times the usual 1.5 s."""
LAST_WORDS = 2.0
"""Seconds for the rest of the log to come in once QEMU has closed its other line."""
SETTLE_TIMEOUT = 10.0
START_TIMEOUT = 20.0
"""Seconds for QEMU itself to answer on its control socket."""


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """What a machine is made of. Two machines of one config differ in nothing but their word."""

    images: ImageSet
    memory_mib: int = DEFAULT_MEMORY
    """RAM in MiB, from physical address 0x60000000 on; vexpress-a9 takes at most 1024."""
    append: str = ""
    """Words added to the image set's kernel command line."""
    qemu: str = "qemu-system-arm"
    processors: int = 1
    """Cortex-A9 cores, at most 4. QEMU runs each on a thread of its own."""
    icount: bool = False
    """Deterministic time (``-icount shift=5,sleep=off``): the same transcript at each boot."""

    @property
    def disk(self) -> Path | None:
        """Root disk (raw) on virtio-blk, run through an overlay that dies with the machine."""
        return self.images.disk

    @property
    def command_line(self) -> str:
        """The whole kernel command line."""
        return f"{self.images.append} {self.append}".strip()

    def devices(self) -> list[str]:
        """The part of QEMU's arguments that template and clones must share."""
        argv = ["-M", "vexpress-a9,secure=off,memory-backend=ram", "-m", f"{self.memory_mib}M"]
        argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        if self.processors != 1:
            argv += ["-smp", str(self.processors)]
        argv += ["-audiodev", "none,id=audio0", "-global", "pl041.audiodev=audio0"]
        argv += ["-device", "virtio-rng-device"]
        if Feature.SSH in self.images.features:
            argv += network.card()
        if self.icount:
            argv += ["-icount", "shift=5,sleep=off", "-rtc", "base=2020-01-01,clock=vm"]
        if self.disk is not None:
            argv += ["-device", "virtio-blk-device,drive=root"]
        return argv

    def boot(self) -> list[str]:
        """The part of QEMU's arguments that only a boot needs: a clone's RAM has it all already."""
        argv = ["-kernel", str(self.images.kernel), "-dtb", str(self.images.dtb)]
        if self.images.initrd is not None:
            argv += ["-initrd", str(self.images.initrd)]
        return argv


def _escaped(path: Path) -> str:
    """A path as a value in QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


class Machine:
    """A running QEMU. Use it as a context manager, or call `close`.

    `word` is the machine's nonce: the guest repeats it in every answer.
    """

    def __init__(
        self,
        config: MachineConfig,
        directory: Path | None = None,
        live: IO[str] | None = None,
        *,
        ram: str | None = None,
        drive: str | None = None,
        incoming: Path | None = None,
        stamped: bool = False,
        gdb: IO[str] | None = None,
    ) -> None:
        self.config = config
        self.word = os.urandom(4).hex()
        self.transcript = Transcript(directory, live)
        self.log = self.transcript.stream(LOG)
        self.before = b""
        """What the kernel's line said of this boot before the machine was cloned."""
        self._io = IoThread.shared()
        self._symbols = Symbols(config.images.system_map, config.images.vmlinux)
        self.watcher = CrashWatcher(self.log, self._symbols.symbolise, stamped)
        self.crashes: list[Crash] = []
        """Every crash that was seen so far."""
        self._closing = False
        self._end_told = False
        self._peers: list[socket.socket] = []
        self._theirs: list[socket.socket] = []
        self.argv = [config.qemu, *config.devices()]
        """QEMU's command."""
        if not incoming:
            line = f"{config.command_line} harness.word={self.word}"
            self.argv += [*config.boot(), "-append", line]
        if config.disk is not None:
            # Written to an unnamed temporary file, never to the user's image.
            drive = drive or f"format=raw,snapshot=on,file={_escaped(config.disk)}"
            self.argv += ["-drive", f"if=none,id=root,{drive}"]
        self.argv += ["-object", ram or f"memory-backend-ram,id=ram,size={config.memory_mib}M"]
        self._private = contextlib.ExitStack()
        self._state: int | None = None
        if incoming:
            self._state = os.open(incoming, os.O_RDONLY | os.O_CLOEXEC)
            self._private.callback(os.close, self._state)
            self.argv += ["-incoming", "defer"]
        self._gdb = (gdb, self._gdb_server()) if gdb is not None else None
        try:
            self._start()
            if not incoming:
                self._announce_gdb()
        except BaseException:
            self.close()
            raise

    # Life

    def _gdb_server(self) -> Path:
        """Makes QEMU wait for gdb on a socket that only this user can reach; returns its path."""
        directory = self._private.enter_context(tempfile.TemporaryDirectory(prefix="harness-"))
        path = Path(directory) / "gdb"
        server = f"socket,id=gdb,path={path},server=on,wait=off"
        self.argv += ["-S", "-chardev", server, "-gdb", "chardev:gdb"]
        return path

    def _announce_gdb(self) -> None:
        """Says how to attach, once gdb can say "continue" and be obeyed."""
        if self._gdb is not None:
            terminal, path = self._gdb
            vmlinux = self.config.images.vmlinux or ""
            attach = f"gdb-multiarch {vmlinux} -ex 'target remote {path}' -ex continue"
            print(f"waiting for gdb: {attach}", file=terminal, flush=True)

    def _pair(self, option: str) -> socket.socket:
        """A socket pair whose other end QEMU gets as the chardev `option` names."""
        ours, theirs = socket.socketpair()
        self._peers.append(ours)
        self._theirs.append(theirs)
        self.argv += ["-chardev", f"socket,id={option},fd={theirs.fileno()}"]
        return ours

    def _line(self, name: str, framed: bool = False) -> Line:
        ours = self._pair(name)
        ours.setblocking(False)
        self.argv += ["-serial", f"chardev:{name}"]
        stream = self.log if name == LOG else self.transcript.stream(name, framed)
        self._io.drain(ours.fileno(), stream)
        return Line(ours.fileno(), stream, self.transcript, self.silence)

    def _start(self) -> None:
        self.console = self._line(LOG)
        self.commands = self._line(COMMANDS, framed=True)
        control = self._pair("control")
        self.argv += ["-mon", "chardev=control,mode=control"]
        self._stderr = self.transcript.stream(STDERR)
        out, into = os.pipe()
        os.set_blocking(out, False)
        fds = tuple(theirs.fileno() for theirs in self._theirs)
        fds += () if self._state is None else (self._state,)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = process.spawn(self.argv, fds, into)
        finally:
            os.close(into)
            for theirs in self._theirs:
                theirs.close()
            self._io.drain(out, self._stderr, lambda: os.close(out))
        self.qmp = Qmp(self._io, control, f"qemu-{self._process.pid}")
        try:
            self.qmp.connect(START_TIMEOUT)
        except MachineError as error:
            raise self._death(f"QEMU did not start: {error}") from error
        self.channel: Channel = (
            AgentChannel(self.commands, self.guard)
            if Feature.AGENT in self.config.images.features
            else ShellChannel(self.console, self.guard, booting=self._state is None)
        )

    def open(self, timeout: float = BOOT_TIMEOUT) -> float:
        """Waits for the guest to answer, and gives it its word; returns as `Channel.probe`."""
        return self.channel.open(self.word, timeout)

    def close(self) -> None:
        """Ends QEMU and everything that belongs to the machine. May be called again."""
        if self._closing:
            return
        self._closing = True
        if hasattr(self, "qmp"):
            self.qmp.close()
        started = getattr(self, "_process", None)
        if started is not None:
            process.end(started)
        for peer in self._peers:
            if peer.fileno() >= 0:
                self._io.forget(peer.fileno())
                peer.close()
        self.transcript.close()
        self._private.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process is not None
        return self._process.pid

    def command(self) -> str:
        """A shell line that boots the same machine again, with its console on the terminal."""
        config = self.config
        argv = [config.qemu, *config.devices(), *config.boot(), "-serial", "mon:stdio"]
        argv += ["-object", f"memory-backend-ram,id=ram,size={config.memory_mib}M"]
        if config.disk is not None:
            file = _escaped(config.disk)
            argv += ["-drive", f"if=none,id=root,format=raw,snapshot=on,file={file}"]
        return shlex.join([*argv, "-append", config.command_line])

    # What befalls it

    def guard(self) -> None:
        """Raises what has befallen the machine: a crash first, then its end. Else returns."""
        if self.watcher.head_seen:
            crash = self.watcher.take()
            if crash not in self.crashes:  # another thread may have been told of it too
                self.crashes.append(crash)
            raise GuestCrash(crash, f"\n{self.transcript.tails(0)}".rstrip())
        if self._process is None or self._closing:
            return
        if self.log.closed or self.commands.stream.closed:
            self._end_told = True
            self._await_last_words()
            raise self._death("QEMU ended")

    def _await_last_words(self) -> None:
        """QEMU is ending: what the kernel said last decides what it ended of."""
        deadline = Deadline(LAST_WORDS)
        with contextlib.suppress(pexpect.EOF, pexpect.TIMEOUT):
            while not deadline.expired:
                self.log.wait(len(self.log), deadline.remaining)
        if self.watcher.head_seen:
            self.guard()

    def settle(self) -> None:
        """At the end of a test: raises a crash or an end of the guest that nobody was told of.

        One more question to the guest makes sure that what its kernel has said so far has arrived.
        """
        if self.watcher.head_seen:
            self.guard()
        if self._end_told or self._closing or any(crash.fatal for crash in self.crashes):
            return
        self.guard()
        if self.channel.idle:
            self.channel.probe(SETTLE_TIMEOUT)
            self.guard()

    def _death(self, what: str) -> Exception:
        """Tells a guest that switched itself off from a QEMU that died."""
        status: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(2)
        stderr = self._stderr.text().strip()
        reason = self.qmp.shutdown_reason if hasattr(self, "qmp") else None
        if status == 0 and reason in ("guest-shutdown", "guest-reset"):
            did = "powered off" if reason == "guest-shutdown" else "reset itself"
            return GuestStopped(f"the guest {did} without a crash\n{self.transcript.tails()}")
        said = f": {stderr}" if stderr else ", and it said nothing"
        return QemuDied(
            f"{what} (exit status {status}{said})\n  {shlex.join(self.argv)}", status, stderr
        )

    @contextlib.contextmanager
    def expect_crash(self, pattern: str, timeout: float = 10) -> Iterator[list[Crash]]:
        """Lets the block run into a crash whose trace or kind matches the regular expression.

        Yields a list that holds the crash afterwards. Raises `GuestTimeout` where none comes
        within `timeout` seconds after the block, and `GuestCrash` for one that does not match.
        """
        caught: list[Crash] = []
        deadline = Deadline(timeout)
        try:
            yield caught
            while not self.watcher.head_seen:
                self.log.wait(len(self.log), deadline.remaining, self.guard)
            self.guard()
        except GuestCrash as error:
            crash = error.crash
            text = "\n".join([*(kind.value for kind in crash.kinds), crash.trace])
            if not re.search(pattern, text):
                raise
            caught.append(crash)
        except pexpect.TIMEOUT:
            raise GuestTimeout(
                f"no crash like {pattern!r} came within {timeout} s\n{self.transcript.tails()}"
            ) from None

    def silence(self) -> str:
        """What there is to tell of a guest that gives no answer."""
        return f"{self.where_it_hangs()}\n{self.last_words()}"

    def console_text(self) -> str:
        """All that the kernel's line has said since the boot."""
        return (self.before + self.log.bytes()).decode("utf-8", "replace")

    def last_words(self, lines: int = 5) -> str:
        """The last commands, the last lines of each stream, and where the transcript is."""
        history = "\n".join(f"    {entry}" for entry in self.channel.history)
        commands = f"last commands:\n{history}\n" if history else ""
        return commands + self.transcript.tails(lines)

    def where_it_hangs(self) -> str:
        """For a silent guest: the processor's program counter with its symbol, and its state."""
        try:
            registers = self.qmp.monitor("info registers")
        except MachineError as error:
            return f"QEMU itself does not answer: {error}"
        counter = re.search(r"R15=([0-9a-f]+)", registers)
        state = re.search(r"PSR=[0-9a-f]+ .*", registers)
        name = self._symbols.name(int(counter[1], 16)) if counter else None
        return (
            f"the processor is at {counter[1] if counter else '?'} {name or ''}"
            f" ({state[0].strip() if state else 'state unknown'})"
        )

    # Its state

    def save(self, path: Path, timeout: float = 30) -> None:
        """Writes the device state, without the RAM, and stops. Raises `MachineError`."""
        self.qmp.migration_capabilities("events", "x-ignore-shared")
        self.qmp.execute("migrate", uri=f"exec:cat > {shlex.quote(str(path))}")
        self._migrated(timeout)

    def restore(self, timeout: float = 20) -> None:
        """Loads the device state that the machine was started for; it runs then."""
        self.qmp.migration_capabilities("events", "x-ignore-shared")
        self.qmp.execute("migrate-incoming", uri=f"fd:{self._state}")
        self._migrated(timeout)
        self._announce_gdb()

    def _migrated(self, timeout: float) -> None:
        status = self.qmp.wait_migrated(timeout)
        if status != "completed":
            raise MachineError(f"QEMU's migration ended as {status}\n{self.transcript.tails()}")

    # Its memory

    def read_physical(self, address: int, length: int) -> bytes:
        """Guest physical memory ``[address, address + length)`` as the host sees it now."""
        with tempfile.TemporaryDirectory(prefix="harness-") as directory:
            path = Path(directory) / "memory"
            self.qmp.execute("pmemsave", val=address, size=length, filename=str(path))
            return path.read_bytes()

    def write_physical(self, address: int, data: bytes) -> None:
        """Puts `data` at guest physical `address`, past the guest. Raises `MachineError`."""
        physical.write(self.qmp.monitor, self.pid, address, data)
