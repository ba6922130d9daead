# SPDX-License-Identifier: MIT
"""The one thread that reads all output of all machines, all the time, and speaks QMP.

Whatever a test does or waits for, no stream of a guest is left undrained: a full pipe would stop
the guest, and what it says while nobody waits would be lost.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from harness.machine.transcript import Stream

T = TypeVar("T")
PIECE = 65536
PAUSE = 0.001
"""Seconds for which a console is not read once a part of a line came: it comes byte by byte, and to
be woken for each costs an eighth of a boot's processor time.
"""


class IoThread:
    """An asyncio event loop in a daemon thread, made at first use and shared by the process."""

    _lock = threading.Lock()
    _shared: IoThread | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._texts: dict[int, Callable[[], None]] = {}
        """What reads a stream that is not framed, by file descriptor."""
        self._paused: dict[int, asyncio.TimerHandle] = {}
        """What goes on with those that are not read for a moment."""
        self._thread = threading.Thread(target=self._serve, name="machine-io", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls) -> IoThread:
        """The process's own; a forked child has none of its parent's threads and gets its own."""
        with cls._lock:
            if cls._shared is None or cls._shared._pid != os.getpid():
                cls._shared = cls()
            return cls._shared

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine in the loop and waits for its result; raises `TimeoutError` at the
        end.
        """
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError from None

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Calls a function in the loop, soon, without waiting for it."""
        self.loop.call_soon_threadsafe(function, *args)

    def drain(self, fd: int, stream: Stream, done: Callable[[], None] = lambda: None) -> None:
        """Appends all that comes out of `fd` (which must not block) to `stream`, up to its end.

        Text is read some bytes at a time, and before any frame that came after it.
        """

        def ready() -> None:
            try:
                data = os.read(fd, PIECE)
            except BlockingIOError:
                return
            except OSError:  # the peer reset the line, or a pty has no other side any more
                data = b""
            if not data:
                self._remove(fd)
                stream.close()
                done()
                return
            if stream.framed and b"\n" in data:
                self._read_texts()
            stream.append(data)
            if not stream.framed and not data.endswith(b"\n"):
                self.loop.remove_reader(fd)
                self._paused[fd] = self.loop.call_later(PAUSE, again)

        def again() -> None:
            self._paused.pop(fd).cancel()
            self.loop.add_reader(fd, ready)
            ready()

        def begin() -> None:
            self.loop.add_reader(fd, ready)
            if not stream.framed:
                self._texts[fd] = lambda: again() if fd in self._paused else ready()

        self.call(begin)

    def _read_texts(self) -> None:
        """Reads each text now: who hears an answer has heard all that was said before it."""
        for read in list(self._texts.values()):
            read()

    def _remove(self, fd: int) -> None:
        self._texts.pop(fd, None)
        if fd in self._paused:
            self._paused.pop(fd).cancel()
        self.loop.remove_reader(fd)

    def forget(self, fd: int) -> None:
        """Stops reading `fd`; returns when it is safe to close it."""
        done = threading.Event()

        def remove() -> None:
            self._remove(fd)
            done.set()

        self.call(remove)
        done.wait()
