# SPDX-License-Identifier: MIT
"""Blocking work on a connection, ended early when the machine crashes or ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pexpect

from harness.errors import HarnessError
from harness.machine.channel import Guard, timed_out
from harness.machine.crash import Crash
from harness.machine.deadline import Deadline
from harness.machine.errors import GuestCrash
from harness.machine.transcript import Stream

T = TypeVar("T")
SLICE = 0.05
"""Seconds after which a waiter looks at the machine again, at the latest."""
LAST_WORDS = 2.0
"""Seconds to wait for the kernel log, or QEMU's exit, to say why a connection has ended."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """What a wait on a connection must know of the machine: how to notice its crash or its end."""

    guard: Guard
    """Raises the error for its crash or its end, if there was one; see `Machine.guard`."""
    log: Stream
    """The kernel log. It ends with QEMU."""
    crashes: list[Crash]
    """What `guard` has raised so far: one crash ends the waits of all threads."""
    tails: Callable[[], str]
    """What there is to tell of a guest that gives no answer."""

    @contextlib.contextmanager
    def on(self) -> Iterator[Guard]:
        """A guard that also raises a crash that another thread was told of in the meantime."""
        seen = len(self.crashes)

        def told() -> None:
            for crash in self.crashes[seen:]:
                raise GuestCrash(crash)

        def look() -> None:
            told()
            try:
                self.guard()
            except GuestCrash:
                raise
            except HarnessError:
                told()
                raise

        yield look

    def befallen(self, guard: Guard) -> None:
        """A connection has ended: raises why, if the machine is the reason; else returns.

        The connection may be seen to end before the last words of the kernel log have come in.
        """
        # Not a Deadline: those stand still under gdb, and this wait need not end in an event.
        until = time.monotonic() + LAST_WORDS
        with contextlib.suppress(pexpect.EOF, pexpect.TIMEOUT):
            while (left := until - time.monotonic()) > 0:
                self.log.wait(len(self.log), left, guard)
        guard()


def watched(
    work: Callable[[], T],
    what: str,
    deadline: Deadline,
    watch: Watch,
    abort: Callable[[], None],
) -> T:
    """Runs blocking `work` in a thread of its own and gives what it gives, or raises.

    Raises `GuestTimeout` at the deadline, and the machine's crash or end at once; `abort`
    is called then, and must make `work` end. An error of the connection itself is raised as it is,
    unless the machine's end is the cause.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"ssh {what[:40]}", daemon=True).start()
    with watch.on() as guard:
        try:
            while not concurrent.futures.wait([future], min(SLICE, deadline.remaining)).done:
                guard()
                if deadline.expired:
                    raise timed_out(what, deadline.elapsed, watch.tails())
            guard()
        except BaseException:
            abort()
            raise
        error = future.exception()
        if isinstance(error, EOFError | OSError) or type(error).__module__.startswith("paramiko"):
            watch.befallen(guard)
        return future.result()
