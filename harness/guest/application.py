# SPDX-License-Identifier: MIT
"""The application as a server: one line in, one line out (``images/app/script.c``)."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from harness.errors import JudgementError
from harness.machine.channel import CommandResult
from harness.memory.ranges import AddressRange

ANSWER_TIMEOUT = 20.0
"""Seconds for one answer of the application, which needs milliseconds."""
FEW = 3
"""Answers up to this number are read by the shell itself."""
_WORD = 8
_STEP = 0x9E3779B97F4A7C15


def pattern(nonce: int, length: int) -> bytes:
    """What the application's ``fill`` writes: 8-byte words, ``nonce + i * 0x9e3779b97f4a7c15``."""
    mask = (1 << 64) - 1
    words = ((nonce + index * _STEP) & mask for index in range(length // _WORD))
    return b"".join(word.to_bytes(_WORD, "little") for word in words)


class Runs(Protocol):
    """What is needed of a guest: commands, and where the application is in it."""

    def run(self, command: str, timeout: float = ..., /) -> CommandResult:
        """Runs a shell command to its end."""
        ...

    def app_path(self) -> str:
        """The application's path."""
        ...


class AppError(JudgementError):
    """The application's answer was an error; ``name`` is that of the errno (``ENOMEM``), or
    ``USAGE``, ``DIRTY``, ``DAMAGED``, ``LOST``.
    """

    def __init__(self, command: str, text: str) -> None:
        super().__init__(f"{command!r} was answered {text!r}")
        self.name = [*text.split(), "", ""][1]


class AppScript:
    """One running application. Start it with `running`; a method is one command and its answer.

    Methods raise `AppError` for an error that the application reports.
    """

    def __init__(self, guest: Runs, number: int, process: int) -> None:
        self._guest = guest
        self._files = f"/tmp/script-{number}"
        self.process = process
        """Its process id in the guest."""

    def ask(self, commands: Iterable[str], timeout: float = ANSWER_TIMEOUT) -> list[str]:
        """Sends all commands at once; returns one line of answer for each, errors included."""
        lines = list(commands)
        return self._run(f"{self._sending(lines)}; {self._reading(len(lines))}", timeout)

    def send(self, commands: Iterable[str]) -> None:
        """Sends commands without waiting for their answers."""
        self._guest.run(self._sending(commands))

    def answers(self, count: int, timeout: float = ANSWER_TIMEOUT) -> list[str]:
        """All answers that are still to come, `count` of them. Raises `GuestTimeout` where they do
        not come in time.
        """
        return self._run(self._reading(count), timeout)

    def _sending(self, commands: Iterable[str]) -> str:
        return f"printf '%s\\n' {' '.join(map(shlex.quote, commands))} 1<>{self._files}.in"

    def _reading(self, count: int) -> str:
        # Opened for reading and writing: a reader of a FIFO that nobody writes would wait forever.
        if count > FEW:
            return f"head -n {count} 0<>{self._files}.out"
        # The shell reads byte by byte, and still sooner than another program has started.
        read = 'read -r line && printf "%s\\n" "$line"'
        return f"{{ {' && '.join([read] * count)}; }} 0<>{self._files}.out"

    def _run(self, script: str, timeout: float) -> list[str]:
        return self._guest.run(script, timeout).text.splitlines()

    def command(self, text: str, timeout: float = ANSWER_TIMEOUT) -> list[str]:
        """One command; the words after ``ok``."""
        return _checked(text, self.ask([text], timeout)[0])

    def error(self, text: str) -> str:
        """One command that must fail; the name of its error."""
        answer = self.ask([text])[0]
        try:
            _checked(text, answer)
        except AppError as error:
            return error.name
        raise JudgementError(f"{text!r} was to fail, and was answered {answer!r}")

    def alloc(self, size: int) -> AddressRange:
        """Allocates `size` bytes; the physical range."""
        phys, length, _ = (int(word, 16) for word in self.command(f"alloc {size}"))
        return AddressRange.from_size(phys, length)

    def release(self, region: AddressRange) -> None:
        """Releases a region."""
        self.command(f"release {region.start} {region.size}")

    def mmap(self, region: AddressRange) -> None:
        """Maps physical memory and keeps it mapped."""
        self.command(f"mmap {region.start} {region.size}")

    def munmap(self, region: AddressRange) -> None:
        """Removes the mapping that `mmap` made."""
        self.command(f"munmap {region.start}")

    def fill(self, nonce: int, region: AddressRange) -> None:
        """Writes `pattern` through a mapping."""
        self.command(f"fill {nonce:x} {region.start} {region.size}")

    def check(self, nonce: int, region: AddressRange) -> None:
        """Raises `AppError` ``DAMAGED`` unless the pattern is there."""
        self.command(f"check {nonce:x} {region.start} {region.size}")

    def read(self, address: int, length: int) -> bytes:
        """At most 64 bytes as the application sees them."""
        return bytes.fromhex(self.command(f"read {address} {length}")[0])

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone."""
        self._guest.run(f"kill -9 {self.process}; wait {self.process} || :")

    def end(self) -> None:
        """The same, and removes what was needed to talk to it."""
        files = f"{self._files}.in {self._files}.out {self._files}.err"
        self._guest.run(f"kill -9 {self.process}; wait {self.process}; rm -f {files}")


def _checked(command: str, answer: str) -> list[str]:
    words = answer.split()
    if not words or words[0] != "ok":
        raise AppError(command, answer)
    return words[1:]


_numbers = itertools.count()


@contextlib.contextmanager
def running(
    guest: Runs,
    device: str,
    options: str = "",
    kind: Callable[[Runs, int, int], AppScript] = AppScript,
) -> Iterator[AppScript]:
    """An application that serves `device` until the block ends; its regions end with it.

    Raises `CommandFailed` where there is no such device.
    """
    number = next(_numbers)
    files = f"/tmp/script-{number}"
    app = guest.app_path()
    # The shell opens both ends before the application runs: what is written into a FIFO that
    # nobody has open is lost.
    text = guest.run(
        f"mkfifo {files}.in {files}.out; {{ {app} --script --device {device} {options}"
        f" <&3 >&4 2>{files}.err 3<&- 4>&- & }} 3<>{files}.in 4<>{files}.out;"
        f" if [ -e {device} ]; then echo $!;"
        f" else wait $!; rm -f {files}.*; echo there is no {device}; false; fi"
    ).text
    script = kind(guest, number, int(text))
    try:
        pid = int(script.command("pid")[0])
        if pid != script.process:
            raise JudgementError(f"process {script.process} says that it is {pid}")
        yield script
    finally:
        # The machine may be gone by now; a test's own error must not be hidden by that.
        with contextlib.suppress(Exception):
            script.end()
