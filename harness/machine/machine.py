# SPDX-License-Identifier: MIT
"""One QEMU vexpress-a9 with its streams, its control socket and its command channel."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, ClassVar, TypeVar

import pexpect

from harness.board import COMMANDS, DISPLAY_CONTROL, LOG, RAM_START, UARTS
from harness.errors import HarnessError, Verdict
from harness.imageset.features import Feature
from harness.machine import confine, executed, physical, process, ram_search, stall
from harness.machine.abilities import Abilities
from harness.machine.agent import AgentChannel
from harness.machine.bus import Bus
from harness.machine.channel import Channel
from harness.machine.config import MachineConfig, Storage
from harness.machine.crash import Crash, CrashWatcher
from harness.machine.deadline import Deadline
from harness.machine.errors import (
    GuestCrash,
    GuestStopped,
    GuestTimeout,
    HostStalled,
    MachineError,
    QemuDied,
)
from harness.machine.given import Given
from harness.machine.iothread import IoThread
from harness.machine.line import Line
from harness.machine.qmp import Qmp
from harness.machine.shell import ShellChannel
from harness.machine.stall import Stalls
from harness.machine.symbols import Symbols
from harness.machine.transcript import Transcript
from harness.machine.uart import Uart
from harness.memory.ranges import AddressRange

STDERR = "qemu"
BOOT_TIMEOUT = 60.0
"""Seconds for a boot to the first answer; a loaded host takes ten times the usual 1.5 s."""
GRACE = 1.0
"""Seconds that QEMU gets to write what others need."""
LAST_WORDS = 2.0
"""Seconds for the rest of the log to come in once QEMU has closed its other line."""
SETTLE_TIMEOUT = 10.0
START_TIMEOUT = 20.0
"""Seconds for QEMU itself to answer on its control socket."""


Part = TypeVar("Part")


class Machine:
    """One QEMU. The constructor starts nothing: `start` does, and `close` ends it.

    A context manager that closes. `nonce` is the guest's: it repeats it in every answer.
    """

    ending: ClassVar[list[Callable[[Machine], None]]] = []
    """Called with each machine whose executed code is logged, before it ends."""

    def __init__(
        self,
        config: MachineConfig,
        directory: Path | None = None,
        live: IO[str] | None = None,
        *,
        storage: Storage | None = None,
        stamped: bool = False,
        gdb: IO[str] | None = None,
    ) -> None:
        """Transcripts go to `directory`, the console also to `live`, word of where to attach gdb
        to `gdb`. `stamped`: the kernel's log is known to have time stamps.
        """
        self.config = config
        self.storage = storage or Storage()
        self.nonce = os.urandom(4).hex()
        self.argv: list[str] = []
        """QEMU's command, complete once it was started."""
        self.transcript = Transcript(directory, live)
        self.log = self.transcript.stream(LOG)
        self.before = b""
        """What the kernel's line said of this boot before the machine was cloned."""
        self.boot_trace: Path | None = None
        """The file with what `trace` was before the machine was cloned. It may be large."""
        self.module_sections: dict[str, int] = {}
        """Where the driver's sections of code were loaded, as far as it was asked."""
        self._trace: int | None = None
        self._symbols = Symbols(config.images.system_map, config.images.vmlinux)
        self.watcher = CrashWatcher(self.log, self._symbols.symbolise, stamped)
        self.crashes: list[Crash] = []
        """Every crash that was seen so far."""
        self._stderr = self.transcript.stream(STDERR)
        self._io = IoThread.shared()
        self._gdb_terminal = gdb
        self._gdb_socket: Path | None = None
        self._private = contextlib.ExitStack()
        self._peers: list[socket.socket] = []
        self._process: process.Process | None = None
        self._qmp: Qmp | None = None
        self._bus: Bus | None = None
        self._console: Line | None = None
        self._commands: Line | None = None
        self._channel: Channel | None = None
        self._stalls: Stalls | None = None
        self._closing = False
        self._end_told = False

    # Its parts, once it was started

    @property
    def qmp(self) -> Qmp:
        """QEMU's control connection."""
        return self._started(self._qmp)

    @property
    def bus(self) -> Bus:
        """The registers of its devices."""
        return self._started(self._bus)

    @property
    def console(self) -> Line:
        """The line of the kernel's console."""
        return self._started(self._console)

    @property
    def commands(self) -> Line:
        """The line of our agent."""
        return self._started(self._commands)

    @property
    def channel(self) -> Channel:
        """The way to run commands in the guest."""
        return self._started(self._channel)

    @property
    def listens(self) -> bool:
        """Whether commands can be run in the guest now."""
        return self._channel is not None and self._channel.idle

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._started(self._process).pid

    def _started(self, part: Part | None) -> Part:
        if part is None:
            raise MachineError("this machine was not started, or its start failed")
        return part

    # Life

    def start(self) -> None:
        """Starts QEMU. Raises `MachineError` where it does not come up; nothing runs then."""
        if self.argv or self._closing:
            raise MachineError("a machine starts once; make another")
        try:
            self._start()
            if self.storage.state is None:
                self._announce_gdb()
        except BaseException:
            self.close()
            raise

    def _arguments(self, given: Given) -> list[str]:
        """QEMU's command, without what connects it to us."""
        config, storage = self.config, self.storage
        argv = [config.qemu, *config.devices(), *storage.arguments(config, given)]
        argv += self._tracing(given)
        if storage.state is None:
            argv += ["-append", f"{config.command_line} harness.nonce={self.nonce}"]
        return argv + given.arguments

    def _tracing(self, given: Given) -> list[str]:
        """QEMU's arguments that log executed code, where that is wanted and can be told."""
        ranges = executed.ranges(self.config.images, self.config.trace)
        if not ranges:
            return []
        self._trace = os.memfd_create("trace")
        self._private.callback(os.close, self._trace)
        log = f"/proc/self/fd/{given.add(os.dup(self._trace))}"
        return ["-d", "in_asm", "-dfilter", executed.trace_filter(ranges), "-D", log]

    def trace(self) -> bytes:
        """QEMU's log of the code that this machine has executed so far, as it was clone or boot;
        empty where none is kept.
        """
        if self._trace is None or self._closing:
            return b""
        return os.pread(self._trace, os.fstat(self._trace).st_size, 0)

    def _gdb_server(self, given: Given) -> Path:
        """Makes QEMU wait for gdb on a socket that only this user can reach; returns its path."""
        directory = self._private.enter_context(tempfile.TemporaryDirectory(prefix="harness-"))
        path = Path(directory) / "gdb"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen(1)
            number = given.add(os.dup(server.fileno()))
        self.argv += ["-S", "-chardev", f"socket,id=gdb,fd={number},server=on,wait=off"]
        self.argv += ["-gdb", "chardev:gdb"]
        return path

    @property
    def gdb_socket(self) -> Path | None:
        """Where it waits for gdb; None where it does not."""
        return self._gdb_socket

    def _announce_gdb(self) -> None:
        """Says how to attach, once gdb can say "continue" and be obeyed."""
        if self._gdb_terminal is not None:
            vmlinux = self.config.images.vmlinux or ""
            target = f"target remote {self._gdb_socket}"
            attach = f"gdb-multiarch {vmlinux} -ex '{target}' -ex continue"
            print(f"waiting for gdb: {attach}", file=self._gdb_terminal, flush=True)

    def _pair(self, option: str, given: Given) -> socket.socket:
        """A socket pair whose other end QEMU gets as the chardev `option` names."""
        ours, theirs = socket.socketpair()
        self._peers.append(ours)
        number = given.add(theirs.detach())
        self.argv += ["-chardev", f"socket,id={option},fd={number}"]
        return ours

    def _line(self, name: str, given: Given, framed: bool = False) -> Line:
        ours = self._pair(name, given)
        ours.setblocking(False)
        self.argv += ["-serial", f"chardev:{name}"]
        stream = self.log if name == LOG else self.transcript.stream(name, framed)
        self._io.drain(ours.fileno(), stream)
        return Line(ours.fileno(), stream, self.transcript, self.silence)

    def _start(self) -> None:
        given = Given(confine.uid())
        try:
            self.argv = self._arguments(given)
            if self._gdb_terminal is not None:
                self._gdb_socket = self._gdb_server(given)
            self._console = self._line(LOG, given)
            self._commands = self._line(COMMANDS, given, framed=True)
            control = self._pair("control", given)
            self.argv += ["-mon", "chardev=control,mode=control"]
            self._bus = Bus(self._pair("qtest", given))
            self.argv += ["-qtest", "chardev:qtest", "-qtest-log", "none"]
            self._process = self._spawn(given.descriptors)
        finally:
            given.close()
        self._qmp = Qmp(self._io, control, f"qemu-{self.nonce}")
        try:
            self._process.release(START_TIMEOUT)
            self._stalls = stall.shared().watch(self.pid)
            self._qmp.connect(START_TIMEOUT)
        except MachineError as error:
            raise self._death(f"QEMU did not start: {error}") from error
        self._channel = self._make_channel(self._qmp.monitor)

    def _make_channel(self, monitor: Callable[[str], str]) -> Channel:
        agent = Feature.AGENT in self.config.images.features
        uart = Uart(monitor, UARTS[COMMANDS if agent else LOG])
        booting = self.storage.state is None
        if agent:
            listening = uart.listening if booting else lambda: True
            return AgentChannel(self.commands, self.guard, listening)
        return ShellChannel(self.console, self.guard, uart if booting else None)

    def _spawn(self, descriptors: list[int]) -> process.Process:
        """QEMU with its ends of our descriptors; what it prints is drained from here on."""
        out, into = os.pipe()
        os.set_blocking(out, False)
        network = Feature.SSH in self.config.images.features
        try:
            return process.spawn(self.argv, descriptors, into, network)
        finally:
            os.close(into)
            self._io.drain(out, self._stderr, lambda: os.close(out))

    def open(self, timeout: float = BOOT_TIMEOUT) -> float:
        """Waits for the guest to answer, and gives it its nonce; returns as `Channel.probe`."""
        return self.channel.open(self.nonce, timeout)

    def close(self) -> None:
        """Ends QEMU and everything that belongs to the machine. May be called again."""
        if self._closing:
            return
        if self._trace is not None:
            for tell in self.ending:
                with contextlib.suppress(HarnessError):
                    tell(self)
        self._closing = True
        if self._qmp is not None:
            self._qmp.close()
        if self._process is not None:
            # What it writes is thrown away, unless it is to become a template's.
            self._process.end(GRACE if self.storage.shared else 0)
        for peer in self._peers:
            if peer.fileno() >= 0:
                self._io.forget(peer.fileno())
                peer.close()
        self.transcript.close()
        self._private.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Raises `HostStalled` in place of an error that says something of the guest while the
        host stood still.
        """
        self.close()
        if isinstance(error, HarnessError):
            self.excuse(error)

    def disturbed(self) -> str:
        """Why what it showed proves nothing: this host stood still; empty where it did not."""
        return self._stalls.reason() if self._stalls is not None else ""

    def excuse(self, error: HarnessError) -> None:
        """Raises `HostStalled` where `error` blames the system and the host stood still."""
        why = self.disturbed()
        if why and error.verdict is not Verdict.INFRASTRUCTURE:
            raise HostStalled(f"this host stood still: {why}\n{error}") from error

    def command(self) -> str:
        """A shell line that boots the same machine again, with its console on the terminal."""
        return shlex.join(self.config.by_hand())

    # Crash and end

    def guard(self) -> None:
        """Raises the error for the guest's crash, else for the machine's end, if any."""
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
        """At the end of a test: raises a crash or an end of the guest that nobody was told of, or
        that what it said could not be kept.

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
        self.transcript.check()

    def _death(self, what: str) -> Exception:
        """Tells a guest that switched itself off from a QEMU that died."""
        status: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(2)
        stderr = self._stderr.text().strip()
        reason = self._qmp.shutdown_reason(LAST_WORDS) if status == 0 and self._qmp else None
        if reason in ("guest-shutdown", "guest-reset"):
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
        entries = self._channel.history if self._channel is not None else ()
        history = "\n".join(f"    {entry}" for entry in entries)
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

    def save(self, path: Path, timeout: float = 30) -> Abilities:
        """Writes the device state, without the RAM, and stops; says what QEMU can do, for whoever
        starts a machine of that state. Raises `MachineError`.
        """
        abilities = self.qmp.abilities()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        self._migrate("migrate", descriptor, abilities, timeout)
        return abilities

    def restore(self, timeout: float = 20) -> None:
        """Loads the device state that the machine was started for; it runs then."""
        state, abilities = self.storage.state, self.storage.abilities
        assert state is not None
        assert abilities is not None
        descriptor = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
        self._migrate("migrate-incoming", descriptor, abilities, timeout)
        # The display's vertical blank stands still, and a kernel that waits for it would warn: it
        # goes on before the guest does.
        self.bus.write(DISPLAY_CONTROL, self.bus.read(DISPLAY_CONTROL))
        if self._gdb_terminal is None:
            self.qmp.execute("cont")
        self._announce_gdb()

    def _migrate(self, command: str, descriptor: int, abilities: Abilities, timeout: float) -> None:
        """Has QEMU write or read its state, to or from a descriptor, which is closed then."""
        try:
            self.qmp.migration_capabilities("events", "x-ignore-shared")
            self.qmp.migrate(command, descriptor, abilities.state_to_file)
        finally:
            os.close(descriptor)
        self._migrated(timeout)

    def _migrated(self, timeout: float) -> None:
        status = self.qmp.wait_migrated(timeout)
        if status != "completed":
            raise MachineError(f"QEMU's migration ended as {status}\n{self.transcript.tails()}")

    # Its memory

    def read_physical(self, address: int, length: int) -> bytes:
        """Guest physical memory ``[address, address + length)`` as the host sees it now."""
        return physical.read(self.qmp.monitor, self.pid, address, length)

    def find_pages(self, heads: Mapping[bytes, int]) -> dict[int, list[int]]:
        """The physical addresses of all pages of RAM that begin with one of `heads` (16 bytes), by
        the number that it has there. Raises `MachineError`.
        """
        ram = AddressRange.from_size(RAM_START, self.config.memory_mib << 20)
        return ram_search.find_pages(self.qmp.monitor, self.pid, ram, heads)

    def write_physical(self, address: int, data: bytes) -> None:
        """Puts `data` at guest physical `address`, past the guest. Raises `MachineError`."""
        physical.write(self.qmp.monitor, self.pid, address, data)
