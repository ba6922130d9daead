# SPDX-License-Identifier: MIT
"""The output of a machine: append-only bytes, one stream per source.

Nothing is ever taken out of a stream. A wait is a `Cursor` over it, a pexpect object that starts
at a position; two waits can read the same bytes, and a failed one loses none.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pexpect
from pexpect.spawnbase import SpawnBase

from harness.errors import HarnessError
from harness.machine.deadline import Deadline
from harness.plaintext import clean

if TYPE_CHECKING:
    BytesSpawn = SpawnBase[bytes]
else:  # generic in its stubs only
    BytesSpawn = SpawnBase

CHUNK = 4096
"""Bytes that a cursor takes at once. pexpect searches only the window's tail of each piece, so a
piece must not exceed the window."""
WINDOW = 2 * CHUNK


def readable(data: bytes) -> str:
    """Text for a person: decoded with replacement, and cleaned (`harness.plaintext`)."""
    return clean(data.translate(None, b"\0\a").decode("utf-8", "replace"))


class Changes(threading.Condition):
    """A condition that counts how often it was notified, so that no change is missed between a
    look that is taken without the lock and the wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def notify_all(self) -> None:
        """Wakes all who wait."""
        self.count += 1
        super().notify_all()


class Stream:
    """One append-only source of bytes. Safe to append from one thread and read from others."""

    def __init__(self, name: str, changed: Changes | None = None, framed: bool = False) -> None:
        self.name = name
        self.framed = framed
        """Whether it carries frames, which are no text for a person, and end with a line feed."""
        self.closed = False
        self._data = bytearray()
        self._told = 0
        """Up to where the listeners were called."""
        self._changed = changed or Changes()
        self._listeners: list[Callable[[bytes, float], None]] = []
        self._closers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._data)

    def listen(self, listener: Callable[[bytes, float], None]) -> None:
        """Calls `listener(data, monotonic_time)` on each piece that comes in from now on; of frames
        on whole lines.
        """
        self._listeners.append(listener)

    def on_close(self, listener: Callable[[], None]) -> None:
        """Calls `listener()` once, when the source ends."""
        self._closers.append(listener)

    def append(self, data: bytes) -> None:
        """Adds what was read from the source just now. A serial line comes byte by byte; with part
        of a frame nobody can do anything, so whoever waits for more is woken by a line feed.
        """
        now = time.monotonic()
        with self._changed:
            self._data += data
            if self.framed and b"\n" not in data:
                return
            self._changed.notify_all()
        self._tell(now)

    def _tell(self, now: float) -> None:
        piece = bytes(self._data[self._told :])
        self._told += len(piece)
        for listener in self._listeners:
            listener(piece, now)

    def close(self) -> None:
        """Marks the end of the source; waits for more than there is end with `pexpect.EOF`."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            self._changed.notify_all()
        if self._told < len(self._data):
            self._tell(time.monotonic())
        for listener in self._closers:
            listener()

    def wake(self) -> None:
        """Makes every wait look again at its `interrupt`."""
        with self._changed:
            self._changed.notify_all()

    def bytes(self, start: int = 0, end: int | None = None) -> bytes:
        """What came in, from position `start` up to `end` (exclusive)."""
        with self._changed:
            return bytes(self._data[start:end])

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The same, for a person to read."""
        return readable(self.bytes(start, end))

    def last_lines(self, count: int = 5) -> list[str]:
        """The last lines, for an error message."""
        lines = [line for line in self.text(max(0, len(self) - 4000)).splitlines() if line.strip()]
        return lines[-count:]

    def wait(
        self, position: int, timeout: float, interrupt: Callable[[], None] | None = None
    ) -> None:
        """Returns once the stream is longer than `position`.

        Raises `pexpect.EOF` if it ends before, `pexpect.TIMEOUT` after `timeout` seconds, and
        whatever `interrupt` raises: it is called at each change, first of all at once. It may
        wait for what other threads do, so no lock is held then.
        """
        deadline = Deadline(timeout)
        while True:
            seen = self._changed.count
            if interrupt is not None:
                interrupt()
            with self._changed:
                if len(self._data) > position:
                    return
                if self._changed.count != seen:
                    continue  # `interrupt` has not seen that yet, and it may know more of an end
                if self.closed:
                    raise pexpect.EOF(f"{self.name} ended")
                if deadline.expired:
                    raise pexpect.TIMEOUT(f"{self.name}: nothing for {deadline.elapsed:.1f} s")
                self._changed.wait(min(deadline.remaining, threading.TIMEOUT_MAX))


class Cursor(BytesSpawn):
    """A pexpect object that reads `stream` from `position` on.

    ``expect`` raises `pexpect.EOF`, `pexpect.TIMEOUT`, or what `interrupt` raises.
    """

    def __init__(
        self,
        stream: Stream,
        position: int,
        interrupt: Callable[[], None] | None = None,
        window: int = WINDOW,
    ) -> None:
        super().__init__(timeout=30, maxread=CHUNK, searchwindowsize=window)
        self.delayafterread = None
        self._stream = stream
        self._next = position
        self._interrupt = interrupt

    @property
    def position(self) -> int:
        """Where in the stream the last match ended."""
        return self._next - len(self.buffer)

    def find(self, pattern: re.Pattern[bytes], timeout: float) -> re.Match[bytes]:
        """Waits for `pattern`; raises as ``expect`` does."""
        self.expect([pattern], timeout=min(timeout, threading.TIMEOUT_MAX))
        assert isinstance(self.match, re.Match)
        return self.match

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        """The next bytes, at most `size`; called by pexpect."""
        self._stream.wait(self._next, 1e9 if timeout is None else timeout, self._interrupt)
        data = self._stream.bytes(self._next, self._next + size)
        self._next += len(data)
        return data


class Transcript:
    """All streams of one machine, and the files that keep them in the artifacts directory.

    ``NAME.log`` has each stream's raw bytes; ``transcript.txt`` all of them line by line, each with
    the seconds since the machine was started and its stream's name.
    """

    def __init__(self, directory: Path | None, live: IO[str] | None = None) -> None:
        self.directory = directory
        self.streams: dict[str, Stream] = {}
        self._changed = Changes()
        self._start = time.monotonic()
        self._files: list[IO[bytes]] = []
        self._partial: dict[str, bytes] = {}
        self._live = live
        self._lock = threading.Lock()
        self._timeline: IO[bytes] | None = None
        self._lost: OSError | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._timeline = (directory / "transcript.txt").open("ab", buffering=0)
            self._files.append(self._timeline)

    def stream(self, name: str, framed: bool = False) -> Stream:
        """Adds a stream. A `framed` one is kept raw but not shown live: it is no text."""
        stream = Stream(name, self._changed, framed)
        self.streams[name] = stream
        if self.directory is not None:
            raw = (self.directory / f"{name}.log").open("ab", buffering=0)
            self._files.append(raw)
            stream.listen(lambda data, _now: self._keep(raw, data))
        stream.listen(lambda data, now: self._note(name, data, now, framed))
        return stream

    def sent(self, name: str, data: bytes) -> None:
        """Keeps what the harness sent to the guest, so that the transcript has both sides."""
        self._note(f"{name}<", data, time.monotonic(), True)

    def _keep(self, raw: IO[bytes], data: bytes) -> None:
        with self._lock:
            self._write(raw, data)

    def _note(self, name: str, data: bytes, now: float, framed: bool) -> None:
        with self._lock:
            whole, newline, rest = (self._partial.get(name, b"") + data).rpartition(b"\n")
            self._partial[name] = rest
            if not newline:
                return
            lines = "".join(
                f"[{now - self._start:11.6f}] {name:<9} {line}\n"
                for line in readable(whole).split("\n")
            )
            if self._timeline is not None:
                self._write(self._timeline, lines.encode())
            if self._live is not None and not framed:
                try:
                    self._live.write(lines)
                    self._live.flush()
                except OSError:
                    self._live = None  # nobody looks any more

    def _write(self, file: IO[bytes], data: bytes) -> None:
        """Keeps it, as long as all before it could be kept: the machine goes on without."""
        if self._lost is not None or file.closed:
            return
        try:
            file.write(data)
        except OSError as error:
            self._lost = error

    def check(self) -> None:
        """Raises `HarnessError` where something could not be written."""
        if self._lost is not None:
            raise HarnessError(f"cannot keep the console in {self.directory}: {self._lost}")

    def tails(self, count: int = 5) -> str:
        """The last `count` lines of each stream that said anything, and where the whole is."""
        parts = []
        for name, stream in self.streams.items():
            lines = [] if stream.framed or not count else stream.last_lines(count)
            if lines:
                parts.append(f"last of {name}:\n" + "\n".join(f"    {line}" for line in lines))
        if self.directory is not None:
            parts.append(f"transcript: {self.directory / 'transcript.txt'}")
        return "\n".join(parts)

    def close(self) -> None:
        """Ends all streams and closes the files; what was said stays readable."""
        for stream in self.streams.values():
            stream.close()
        for name, rest in list(self._partial.items()):
            if rest:
                self._note(name, b"\n", time.monotonic(), True)
        with self._lock:
            for file in self._files:
                file.close()
