# SPDX-License-Identifier: MIT
"""The command channel for a root image that is not ours: its shell, on the line it shares with
the kernel.

The prompt, the echo and the kernel's messages are all on that line, so none of it is believed. A
loop in the guest (`harness.machine.guestloop`) takes numbered commands with a sum, and gives
numbered base64 lines that begin with the machine's nonce, with MD5 sums and the exit status. What a
kernel message broke, or what lost bytes, is missed or fails a sum, and is asked for again. Each
command is run once.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import os
import re
import shlex
import sys
from collections.abc import Sequence

import pexpect

from harness.errors import UserError
from harness.machine import guestloop, stirrer
from harness.machine.channel import FRESH, Channel, CommandResult, Guard, timed_out
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestFileError
from harness.machine.line import Line
from harness.machine.transcript import Cursor
from harness.machine.uart import Uart

KNOCK = 1.0
"""Seconds without an answer after which a guest that starts is asked again."""
LOGIN = rb"(login: *\r*\n|Password: )"
"""A question for a user's name, of which the answer was nothing, and the one that follows it."""
WAITING = re.compile(rb"login: *\Z")
"""A question for a user's name that was asked before anything was said."""
ASKS_FOR_LOGIN = (
    "the root image asks for a login on ttyAMA0, and nobody is here to give one: start a shell"
    " there in its /etc/inittab (::respawn:-/bin/sh, or getty -n -l /bin/sh)"
)
LOOK = 0.05
"""Seconds between two looks for the guest's serial driver."""
BLOCK = 24 * 1024
"""Bytes of a file that go to the guest at once; the answer to them says that they were taken."""
RESENDS = 5
ASK_AGAIN = 2.0
"""Seconds that an answer that has begun gets to go on."""
PATIENCE = 5.0
"""Seconds without a word after which the guest is asked whether it has run a command; doubled each
time.
"""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# A pseudo file's size is known only once it was read, hence the copy.
MANY = """\
for _f in {patterns}; do
  [ -f "$_f" ] && cat "$_f" >$_d.m 2>/dev/null && echo "$(wc -c <$_d.m) $_f" && cat $_d.m
done; :"""


@dataclasses.dataclass
class Answer:
    """What has come over of one command's answer."""

    pieces: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """All that came, by ``o`` or ``e`` and number."""
    last: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """What came in the last turn: a damaged number does no harm there."""
    status: int | None = None
    sums: tuple[str, str] = ("", "")

    def whole(self) -> tuple[bytes, bytes] | None:
        """Both outputs, where their sums are right."""
        for pieces in (self.last, self.pieces):
            both = _output(pieces, "o"), _output(pieces, "e")
            found = tuple(hashlib.md5(data, usedforsecurity=False).hexdigest() for data in both)
            if self.status is not None and found == self.sums:
                return both
        return None


def _output(pieces: dict[str, bytes], which: str) -> bytes:
    """The pieces of ``o`` or ``e``, as far as they follow each other."""
    parts: list[bytes] = []
    while (piece := pieces.get(f"{which}{len(parts) + 1}")) is not None:
        parts.append(piece)
    try:
        return base64.b64decode(b"".join(parts), validate=True)
    except binascii.Error:
        return b""


class ShellChannel(Channel):
    """Commands over the shared serial line. Needs BusyBox's (or any) ``base64`` and ``md5sum``."""

    def __init__(self, line: Line, guard: Guard, uart: Uart | None = None) -> None:
        """`uart`: the line's, in a guest that is booting and may have no driver for it yet."""
        super().__init__()
        self._uart = uart
        self._line = line
        self._guard = guard
        self._nonce = ""
        self._seq = 0
        self._pending = ""

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """See `Channel.idle`."""
        return not self._pending

    def open(self, nonce: str, timeout: float) -> float:
        """See `Channel.open`. Asks until a shell answers, and has it start the loop."""
        deadline = Deadline(timeout)
        self._nonce, self._seq = nonce, 0
        start = len(self._line.stream)
        self._await_driver(deadline)
        while not self._knock(start, deadline):
            if self._uart is not None:
                self._uart.rescue()
        self._uart = None
        self._pending = ""
        return self.probe(deadline.remaining)

    def _await_driver(self, deadline: Deadline) -> None:
        """Returns when the guest's console takes what is sent; what comes before makes it deaf."""
        while self._uart is not None and not self._uart.listening():
            with contextlib.suppress(pexpect.TIMEOUT):
                self._line.stream.wait(sys.maxsize, min(LOOK, deadline.remaining), self._guard)
            if deadline.expired:
                raise timed_out("a console", deadline.elapsed, self._line.tails())

    def _knock(self, start: int, deadline: Deadline) -> bool:
        """One try to have the loop answer; whether it does. `start`: where the first one began."""
        try:
            found = self._ask(guestloop.knock(self._nonce), guestloop.FOUND, deadline)
            if found.startswith(b".lacks"):
                self._lacks(start, found)
                return False
            if found == b".shell":
                found = self._ask(guestloop.upload(self._nonce), guestloop.SUM, deadline)
                if found.decode() == guestloop.md5(guestloop.SCRIPT):
                    found = self._ask(guestloop.start(self._nonce), guestloop.HERE, deadline)
        except pexpect.TIMEOUT:
            if deadline.expired:
                raise timed_out("a shell", deadline.elapsed, self._line.tails()) from None
            return False
        return found == b" 0 here"

    def _ask(self, lines: Sequence[str], answer: bytes, deadline: Deadline) -> bytes:
        """Says lines; what comes behind the nonce.

        Raises `pexpect.TIMEOUT` after `KNOCK`, and `UserError` where a login is asked for.
        """
        position = len(self._line.stream)
        before = self._line.stream.bytes(max(0, position - 80), position)
        if question := WAITING.search(before):
            position -= len(question[0])  # the answer to it is our first, empty line
        self._say(lines, deadline)
        pattern = re.compile(b"@%s%s|%s" % (re.escape(self._nonce.encode()), answer, LOGIN))
        cursor = Cursor(self._line.stream, position, self._guard)
        found = cursor.find(pattern, min(KNOCK, deadline.remaining))
        if found[2] is not None:
            raise UserError(ASKS_FOR_LOGIN)
        return bytes(found[1])

    def _lacks(self, start: int, found: bytes) -> None:
        """Raises where the guest said so more than once: a damaged question is answered so too."""
        said = b"@%s%s" % (self._nonce.encode(), found)
        if self._line.stream.bytes(start).count(said) > 1:
            raise ConsoleError(
                f"the guest's shell has no {found.decode().rpartition('.')[2]}: without it nothing"
                " on a shared serial line can be checked (BusyBox: CONFIG_BASE64, CONFIG_MD5SUM)"
            )

    def _say(self, lines: Sequence[str], deadline: Deadline) -> None:
        for line in lines:
            self._line.send(line.encode() + b"\n", deadline, self._guard)

    def _run(self, command: str, timeout: float, lines: Sequence[str] = ()) -> CommandResult:
        """See `Channel.run`. A command that times out cannot be killed here; the next one says
        so. `lines` are what it reads from file descriptor 9.
        """
        if self._pending:
            raise ConsoleError(f"`{self._pending}` has not ended: the shell cannot be used again")
        if CONTROL.search(command):
            raise ConsoleError(f"{command!r} has control characters, which a serial line acts upon")
        deadline = Deadline(timeout)
        self._seq += 1
        position = len(self._line.stream)
        request = [*guestloop.command(self._seq, command), *lines]
        self._say(request, deadline)
        self._pending = command
        answer, patience, turn = Answer(), PATIENCE, 0
        while True:
            began = turn > 0 or bool(answer.last)
            try:
                said, position = self._collect(
                    answer, position, deadline, turn, ASK_AGAIN if began else patience
                )
            except pexpect.TIMEOUT:
                if deadline.expired:
                    raise timed_out(command, deadline.elapsed, self._line.tails()) from None
                patience *= 2
                self._say([*(guestloop.END_OF_LINES if lines else ()), f"_q {self._seq}"], deadline)
                continue
            if said == b"missing":
                self._say(request, deadline)
                continue
            if (both := answer.whole()) is not None:
                self._pending = ""
                assert answer.status is not None
                return CommandResult(command, *both, answer.status, deadline.elapsed)
            turn += 1
            if turn > RESENDS:
                raise ConsoleError(
                    f"the answer to `{command}` came damaged {turn} times\n{self._line.tails()}"
                )
            answer.last = {}
            self._say([f"_a {self._seq} {turn}"], deadline)

    def _collect(
        self, answer: Answer, position: int, deadline: Deadline, turn: int, patience: float
    ) -> tuple[bytes, int]:
        """Reads lines of an answer up to the end mark of its `turn`, or to a word on whether the
        command was run at all; returns what it was, and where it ended.

        Raises `pexpect.TIMEOUT` at the deadline, or `patience` seconds after the last line.
        """
        pattern = re.compile(
            rb"@%s %d (?:([oe]\d+):([A-Za-z0-9+/=]{0,76})|(missing|done)"
            rb"|end %d (\d+) ([0-9a-f]{32}) ([0-9a-f]{32}) \4)\r*\n"
            % (re.escape(self._nonce.encode()), self._seq, turn)
        )
        cursor = Cursor(self._line.stream, position, self._guard)
        while True:
            match = cursor.find(pattern, min(deadline.remaining, patience))
            key, piece, said, status, out, err = match.groups()
            if key is not None:
                answer.pieces[key.decode()] = answer.last[key.decode()] = piece
                patience = ASK_AGAIN
                continue
            if status is not None:
                answer.status = int(status)
                answer.sums = out.decode(), err.decode()
            return said or b"end", cursor.position

    def stir(self, timeout: float) -> None:
        """See `Channel.stir`. By a program that is brought in: a shell cannot do it."""
        self.stirred = self._run(stirrer.command(os.urandom(FRESH)), timeout).status == 0

    def get(self, path: str, timeout: float) -> bytes:
        """See `Channel.get`."""
        result = self.run(f"cat {shlex.quote(path)}", timeout)
        if result.status:
            raise GuestFileError(
                f"in the guest, {result.stderr.decode('utf-8', 'replace').strip()}"
            )
        return result.stdout

    def get_many(self, patterns: Sequence[str], timeout: float) -> dict[str, bytes]:
        """See `Channel.get_many`."""
        command = MANY.format(
            patterns=" ".join(pattern.replace("#", "\\#") for pattern in patterns)
        )
        output = self.run(command, timeout).stdout
        files: dict[str, bytes] = {}
        while output:
            head, _, rest = output.partition(b"\n")
            size, _, path = head.decode("utf-8", "surrogateescape").partition(" ")
            files[path], output = rest[: int(size)], rest[int(size) :]
        return files

    def put(self, path: str, data: bytes, mode: int, timeout: float) -> None:
        """See `Channel.put`."""
        deadline = Deadline(timeout)
        where = shlex.quote(path)
        result = self.run(f": >{where} && chmod {mode:o} {where}", deadline.remaining)
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            command, lines = guestloop.take_lines(block, where), guestloop.file_lines(block)
            for _ in range(RESENDS):
                result = self._run(command, deadline.remaining, lines)
                if not result.status or result.stderr:
                    break  # it is there, or the guest says why not; else it came damaged
            if result.status:
                break
        if not result.status:
            result = self.run(f"md5sum <{where}", deadline.remaining)
            wanted = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if not result.status and result.text.split()[0] != wanted:
                raise ConsoleError(f"put {path}: what the guest holds is not what was sent")
        if result.status and not result.stderr:
            raise ConsoleError(f"put {path}: it came damaged {RESENDS} times")
        if result.status:
            raise GuestFileError(
                f"in the guest, {result.stderr.decode('utf-8', 'replace').strip()}"
            )

    def probe(self, timeout: float) -> float:
        """See `Channel.probe`. The kernel's uptime has a resolution of 10 ms, so it sleeps
        longer.
        """
        deadline = Deadline(timeout)
        times = (
            self.run(
                "cat /proc/uptime; usleep 20000 || sleep 1; cat /proc/uptime", deadline.remaining
            )
            .check()
            .text.split()
        )
        return float(times[2]) - float(times[0])
