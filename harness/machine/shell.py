# SPDX-License-Identifier: MIT
"""The command channel for a root image that is not ours: its shell, on the line it shares with
the kernel.

The prompt, the echo and the kernel's messages are all on that line, so none of it is believed. A
command's output goes to files in the guest; these come over as numbered base64 lines that begin
with the machine's nonce, followed by their MD5 sums and the exit status. A line that a kernel
message broke, or that lost bytes, is missed or fails the sum, and all are asked for again.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import re
import shlex
from collections.abc import Sequence

import pexpect

from harness.errors import UserError
from harness.machine.channel import Channel, CommandResult, Guard, timed_out
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestFileError
from harness.machine.line import Line
from harness.machine.transcript import Cursor

PIECE = 600
"""Bytes of one line to the guest; the tty's line editor takes 4095, and ash's editor fewer."""
KNOCK = 1.0
"""Seconds without an answer after which Enter is sent to a booting guest again."""
SOFT_KNOCKS = 12
"""Bytes that a guest may be sent before its serial driver runs. A PL011 whose 16 bytes of buffer
are full when the driver starts raises no interrupt any more if more is waiting behind them: the
driver drains it (pl011_enable_interrupts()), and QEMU fills it as fast.
"""
STARTED = re.compile(rb"Run \S+ as init process|[Pp]ress Enter|[#$] \x1b\[6n|login: ")
"""What a guest prints once its console was opened for reading."""
LOGIN = re.compile(rb"login: *\r*\n|Password: ")
"""A question for a user's name, of which the answer was nothing, and the one that follows it."""
ASKS_FOR_LOGIN = (
    "the root image asks for a login on ttyAMA0, and nobody is here to give one: start a shell"
    " there in its /etc/inittab (::respawn:-/bin/sh, or getty -n -l /bin/sh)"
)
BLOCK = 24 * 1024
"""Bytes of a file that go to the guest at once; the answer to them says that they were taken."""
LINE = 1020
"""Characters of base64 in one line of them."""
RESENDS = 5
ASK_AGAIN = 2.0
"""Seconds that a complete answer gets to come over once it was asked for again."""

# Sent one line at a time. File descriptor 9 is the terminal for commands that read it. The reading
# loop is no interactive shell: it has no prompt and no editor.
SETUP = (
    "for _d in ${TMPDIR:-/tmp} /run /dev /; do (: >$_d/.h$$.o) 2>/dev/null && break; done;"
    " _d=$_d/.h$$",
    "_nl=$(echo; echo .); _nl=${_nl%.}",
    # As many processes for a megabyte as for a line: ash reads a pipe byte by byte.
    '_l() { [ ! -s $2 ] || base64 <$2 | grep -n "" | sed "s/^/@$_w $_q $1/"; }',
    "_a() { _t=$1; _l o $_d.o; _l e $_d.e;"
    " set -- $(md5sum <$_d.o) $(md5sum <$_d.e);"
    ' for _x in 1 2 3; do echo "@$_w $_q end $_t $_s $1 $3"; done; }',
    '_r() { _q=$1; eval "$_c" >$_d.o 2>$_d.e </dev/null; _s=$?; _c=; _a 0; }',
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# A pseudo file's size is known only once it was read, hence the copy.
MANY = """\
for _f in {patterns}; do
  [ -f "$_f" ] && cat "$_f" >$_d.m 2>/dev/null && echo "$(wc -c <$_d.m) $_f" && cat $_d.m
done; :"""
LOOP = 'exec 2>/dev/null 9<&0; while read -r _k; do eval "$_k"; done'


@dataclasses.dataclass
class Answer:
    """What has come over of one command's answer."""

    pieces: dict[str, bytes]
    status: int | None = None
    sums: tuple[str, str] = ("", "")

    def output(self, which: str) -> bytes:
        """The pieces of ``o`` or ``e``, as far as they follow each other."""
        parts: list[bytes] = []
        while (piece := self.pieces.get(f"{which}{len(parts) + 1}")) is not None:
            parts.append(piece)
        try:
            return base64.b64decode(b"".join(parts), validate=True)
        except binascii.Error:
            return b""

    def whole(self) -> tuple[bytes, bytes] | None:
        """Both outputs, where their sums are right."""
        both = self.output("o"), self.output("e")
        found = tuple(hashlib.md5(data, usedforsecurity=False).hexdigest() for data in both)
        return both if self.status is not None and found == self.sums else None


class ShellChannel(Channel):
    """Commands over the shared serial line. Needs BusyBox's (or any) ``base64`` and ``md5sum``."""

    def __init__(self, line: Line, guard: Guard, *, booting: bool = True) -> None:
        """`booting`: the guest may have no driver for its console yet."""
        super().__init__()
        self._booting = booting
        self._line = line
        self._guard = guard
        self._word = ""
        self._seq = 0
        self._pending = ""

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """See `Channel.idle`."""
        return not self._pending

    def open(self, nonce: str, timeout: float) -> float:
        """See `Channel.open`. Knocks (Enter, then a question) until a shell answers."""
        deadline = Deadline(timeout)
        self._word = nonce
        start = len(self._line.stream)
        if self._booting:
            self._await_driver(start, deadline)
            self._booting = False
        here = re.compile(rb"@%s here42|%s" % (nonce.encode(), LOGIN.pattern))
        while True:
            self._say("", deadline)
            self._say(f"stty -echo; PS1=; printf '@%s here%s\\n' {nonce} $((6*7))", deadline)
            cursor = Cursor(self._line.stream, start, self._guard)
            try:
                if b"here42" not in cursor.find(here, min(KNOCK, deadline.remaining)).group():
                    raise UserError(ASKS_FOR_LOGIN)
                break
            except pexpect.TIMEOUT:
                if deadline.expired:
                    raise timed_out("a shell", deadline.elapsed, self._line.tails()) from None
        body = "; ".join([f"_w={nonce}", *SETUP, LOOP])
        for start_at in range(0, len(body), PIECE):
            piece = shlex.quote(body[start_at : start_at + PIECE])
            self._say(f"_h={'$_h' if start_at else ''}{piece}", deadline)
        self._say('exec sh -c "$_h"', deadline)
        missing = self.run("command -v base64 md5sum", deadline.remaining)
        if missing.status:
            raise ConsoleError(
                "the guest's shell has no base64 or no md5sum: without them nothing on a shared"
                " serial line can be checked (BusyBox: CONFIG_BASE64, CONFIG_MD5SUM)"
            )
        return self.probe(deadline.remaining)

    def _await_driver(self, start: int, deadline: Deadline) -> None:
        """Returns when the guest's console can be written to, as far as one can tell."""
        for _ in range(SOFT_KNOCKS):
            cursor = Cursor(self._line.stream, start, self._guard)
            with contextlib.suppress(pexpect.TIMEOUT):
                cursor.find(STARTED, min(KNOCK, deadline.remaining))
                return
            if deadline.expired:
                return
            self._say("", deadline)

    def _say(self, line: str, deadline: Deadline) -> None:
        self._line.send(line.encode() + b"\n", deadline, self._guard)

    def _say_text(self, command: str, deadline: Deadline) -> None:
        """Puts the command into the guest's variable ``_c``, in lines that the tty takes whole."""
        if CONTROL.search(command):
            raise ConsoleError(f"{command!r} has control characters, which a serial line acts upon")
        self._say("_c=", deadline)
        for number, line in enumerate(command.split("\n")):
            newline = '"$_nl"' if number else ""
            for start in range(0, max(len(line), 1), PIECE):
                piece = shlex.quote(line[start : start + PIECE])
                self._say(f'_c="$_c"{newline if not start else ""}{piece}', deadline)

    def _run(self, command: str, timeout: float, lines: Sequence[str] = ()) -> CommandResult:
        """See `Channel.run`. A command that times out cannot be killed here; the next one says
        so. `lines` are what it reads from file descriptor 9.
        """
        if self._pending:
            raise ConsoleError(f"`{self._pending}` has not ended: the shell cannot be used again")
        deadline = Deadline(timeout)
        self._seq += 1
        position = len(self._line.stream)
        self._say_text(command, deadline)
        self._say(f"_r {self._seq}", deadline)
        answer = Answer({})
        self._pending = command
        for line in lines:
            self._say(line, deadline)
        for turn in range(RESENDS + 1):
            try:
                position = self._collect(answer, position, deadline, turn)
            except pexpect.TIMEOUT:
                if deadline.expired:
                    raise timed_out(command, deadline.elapsed, self._line.tails()) from None
            if (both := answer.whole()) is not None:
                self._pending = ""
                assert answer.status is not None
                return CommandResult(command, *both, answer.status, deadline.elapsed)
            self._say(f"_a {turn + 1}", deadline)
        raise ConsoleError(
            f"the answer to `{command}` came damaged {RESENDS + 1} times\n{self._line.tails()}"
        )

    def _collect(self, answer: Answer, position: int, deadline: Deadline, turn: int) -> int:
        """Reads lines of an answer up to the end mark of its `turn`; returns where it ended.

        Raises `pexpect.TIMEOUT` at the deadline, or `ASK_AGAIN` seconds after a line of an answer
        that should have gone on: its end marks may all be damaged.
        """
        word, seq = re.escape(self._word.encode()), self._seq
        pattern = re.compile(
            rb"@%s %d (?:([oe]\d+):([A-Za-z0-9+/=]{0,76})"
            rb"|end %d (\d+) ([0-9a-f]{32}) ([0-9a-f]{32}))\r*\n" % (word, seq, turn)
        )
        cursor = Cursor(self._line.stream, position, self._guard)
        while True:
            begun = turn > 0 or bool(answer.pieces)
            left = min(deadline.remaining, ASK_AGAIN) if begun else deadline.remaining
            match = cursor.find(pattern, left)
            key, piece, status, out, err = match.groups()
            if key is not None:
                answer.pieces[key.decode()] = piece
                continue
            answer.status = int(status)
            answer.sums = out.decode(), err.decode()
            return cursor.position

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
            if result.status:
                break
            text = base64.b64encode(data[start : start + BLOCK]).decode()
            lines = [text[at : at + LINE] for at in range(0, len(text), LINE)]
            # A terminal gives no more than a line at a time: head takes what is its own.
            command = f"head -n {len(lines)} <&9 | base64 -d >>{where}"
            result = self._run(command, deadline.remaining, lines)
        if not result.status:
            result = self.run(f"md5sum <{where}", deadline.remaining)
            wanted = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if not result.status and result.text.split()[0] != wanted:
                raise ConsoleError(f"put {path}: what the guest holds is not what was sent")
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
