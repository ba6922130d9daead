# SPDX-License-Identifier: MIT
"""What every command channel offers, whatever carries it."""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Callable, Sequence

from harness.machine.errors import CommandFailed, ConsoleError, GuestTimeout

HISTORY = 8
FRESH = 64
"""Bytes of randomness for each machine: twice what a 5.0 kernel wants before it uses any."""
Guard = Callable[[], None]
"""Raises the error for the machine's crash or end; returns where it runs."""


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """A command that ended. Output is bytes as the guest wrote them, without the terminal's
    ``\\r``.
    """

    command: str
    stdout: bytes
    stderr: bytes
    """Empty where the channel cannot tell the two apart (the shared serial line: all in
    `stdout`).
    """
    status: int
    """Exit status as the shell reports it: 128 and the number of the signal that ended the
    command.
    """
    elapsed: float
    """Seconds from sending the command to its end."""

    @property
    def text(self) -> str:
        """Standard output, decoded with replacement."""
        return self.stdout.decode("utf-8", "replace")

    def check(self) -> CommandResult:
        """Returns itself where the status is 0. Raises `CommandFailed` otherwise."""
        if self.status:
            said = (self.stderr or self.stdout).decode("utf-8", "replace").strip()
            raise CommandFailed(
                f"in the guest, `{self.command}` ended with status {self.status}"
                + (f": {said[-800:]}" if said else " and said nothing")
            )
        return self


class Channel(abc.ABC):
    """A way to run commands and move files. One command at a time.

    `history` has the last commands with their ends, for a failure report.

    All calls raise `GuestTimeout` at the deadline, `ConsoleError` where the channel delivered
    something damaged, and what the machine's guard raises (`GuestCrash`, `GuestStopped`,
    `QemuDied`).
    """

    idle = True
    """False while a command that timed out may still be running: nothing can be asked then."""

    stirred = True
    """False where the guest took no fresh randomness at the last `open` or `stir`."""

    def __init__(self) -> None:
        self.history: collections.deque[str] = collections.deque(maxlen=HISTORY)

    @abc.abstractmethod
    def open(self, nonce: str, timeout: float) -> float:
        """Connects to the guest and gives the machine its nonce (hex), which every answer repeats.

        Proves that the guest runs, and returns what `probe` does.
        """

    def stir(self, timeout: float) -> None:  # noqa: B027 - most have nothing left to do
        """Gives a guest that was restored fresh randomness, where `open` has not; see `stirred`."""

    def run(self, command: str, timeout: float) -> CommandResult:
        """Runs a shell command and waits for its end."""
        first = command.strip().partition("\n")[0][:120]
        try:
            result = self._run(command, timeout)
        except Exception as error:
            self.history.append(f"{first}  -> {type(error).__name__}")
            raise
        self.history.append(f"{first}  -> {result.status}, {result.elapsed * 1e3:.0f} ms")
        return result

    @abc.abstractmethod
    def _run(self, command: str, timeout: float) -> CommandResult:
        """As `run`."""

    @abc.abstractmethod
    def get(self, path: str, timeout: float) -> bytes:
        """Reads a file, checked by length and CRC-32. Raises `GuestFileError`."""

    @abc.abstractmethod
    def get_many(self, patterns: Sequence[str], timeout: float) -> dict[str, bytes]:
        """Path → content of all regular files that match the shell patterns.

        What cannot be read is left out: pseudo file systems have files for writing only.
        """

    @abc.abstractmethod
    def put(self, path: str, data: bytes, mode: int, timeout: float) -> None:
        """Writes a file, checked by reading it back in the guest. Raises `GuestFileError`."""

    @abc.abstractmethod
    def probe(self, timeout: float) -> float:
        """Proves that the guest runs: its nonce, a running clock, timer interrupts.

        Returns how many seconds the guest's clock advanced over a sleep of 1 ms (or more).
        """


SHOWN = 200
"""Characters of a command that an error shows."""


def timed_out(what: str, elapsed: float, tails: str) -> GuestTimeout:
    """The error for a missing answer: what was asked, how long ago, what the streams say."""
    if len(what) > SHOWN:
        what = f"{what[:SHOWN]}…"
    return GuestTimeout(f"no answer to `{what}` after {elapsed:.1f} s\n{tails}")


def expect_sum(what: str, said: tuple[int, int], found: tuple[int, int]) -> None:
    """Compares (size in bytes, CRC-32) of what was sent with what arrived."""
    if said != found:
        raise ConsoleError(
            f"{what} arrived damaged: {found[0]} bytes with CRC {found[1]:08x},"
            f" sent were {said[0]} with {said[1]:08x}"
        )
