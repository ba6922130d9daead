# SPDX-License-Identifier: MIT
"""The channel over a shared serial line: a real shell on a pty, and a kernel that talks into it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.machine.errors import ConsoleError, GuestFileError, GuestTimeout
from harness.machine.line import Line
from harness.machine.shell import ShellChannel
from harness.machine.transcript import Cursor, Transcript
from tests.unit.machine.damaged import wire

Noise = Callable[[bytes], bytes]
MESSAGE = b"[   12.345678] usb 1-1: new high-speed # device\r\n"


def silent(data: bytes) -> bytes:
    return data


def talkative(seed: int, share: float) -> Noise:
    """A kernel that writes a message into the middle of a `share` of what the shell writes."""
    chance = random.Random(seed)

    def noise(data: bytes) -> bytes:
        if chance.random() > share:
            return data
        at = chance.randrange(len(data) + 1)
        return data[:at] + MESSAGE + data[at:]

    return noise


@contextlib.contextmanager
def shell(noise: Noise = silent, before: bytes = b"") -> Iterator[ShellChannel]:
    """A channel to ``sh`` on a pty, whose output goes through `noise`."""
    ours, theirs = os.openpty()
    files = tempfile.TemporaryDirectory()
    # BusyBox's; without it the channel's probe sleeps for a second.
    usleep = Path(files.name) / "usleep"
    usleep.write_text("#!/bin/sh\nsleep 0.02\n")
    usleep.chmod(0o755)
    process = subprocess.Popen(
        ["sh", "-i", "+m"],  # without job control all that it starts is in its process group
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={
            **os.environ,
            "PS1": "/ # \x1b[6n",
            "TMPDIR": files.name,
            "PATH": f"{files.name}:{os.environ['PATH']}",
        },
    )
    os.close(theirs)
    transcript = Transcript(None)
    stream = transcript.stream("ttyAMA0")
    stream.append(before)

    def relay() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(ours, 200):
                stream.append(noise(data))
        stream.close()

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    channel = ShellChannel(Line(ours, stream, transcript), lambda: None)
    try:
        channel.open("abcd0123", 20)
        yield channel
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        thread.join(10)
        assert not thread.is_alive(), "it reads from a number that another file would get"
        os.close(ours)
        files.cleanup()


def test_output_and_status_without_prompt_and_echo() -> None:
    with shell(before=b"Please press Enter to activate this console.") as channel:
        result = channel.run("echo 'a  # b'; echo oops >&2; (exit 7)", 10)
    assert (result.stdout, result.stderr, result.status) == (b"a  # b\n", b"oops\n", 7)


def test_the_shell_keeps_its_state_between_commands() -> None:
    with shell() as channel:
        channel.run("cd /usr; here=there", 10)
        assert channel.run("echo $PWD $here", 10).text == "/usr there\n"


@pytest.mark.parametrize(
    "text", ["", "'", '"', "a'b\"c", "$HOME `id` \\ \\n %s", "ü€", "x" * 5000, "tab\there"]
)
def test_every_text_reaches_the_command_as_it_is(text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    with shell() as channel:
        assert channel.run(f"printf %s {quoted}", 10).text == text


def test_a_command_may_have_lines() -> None:
    with shell() as channel:
        assert channel.run("if true\nthen\n  echo yes\nfi\n\necho end", 10).text == "yes\nend\n"


def test_kernel_messages_are_not_output() -> None:
    wanted = "".join(f"line {n} # of output\n" for n in range(200))
    with shell(talkative(1, 0.3)) as channel:
        for _ in range(5):
            got = channel.run(
                "i=0; while [ $i -lt 200 ]; do echo line $i '# of output'; i=$((i+1)); done", 30
            )
            assert got.text == wanted


def test_a_line_that_cannot_be_trusted_is_an_error() -> None:
    damage = [False]

    def noise(data: bytes) -> bytes:
        return data.replace(b"Q", b"R") if damage[0] else data

    with shell(noise) as channel:
        damage[0] = True
        with pytest.raises(ConsoleError, match="damaged"):
            channel.run("printf AAAAAAAAAAAA | tr A B", 10)


def test_bytes_that_are_lost_are_asked_for_again() -> None:
    drops = iter([True, True, False])

    def noise(data: bytes) -> bytes:
        at = data.find(b" o0 ")
        return data[: at + 5] + data[at + 6 :] if at >= 0 and next(drops, False) else data

    with shell(noise) as channel:
        assert channel.run("echo hello", 10).text == "hello\n"


def test_silence_ends_at_the_deadline_and_the_next_command_says_why() -> None:
    with shell() as channel:
        with pytest.raises(GuestTimeout, match="no answer to `sleep 60` after"):
            channel.run("sleep 60", 0.2)
        assert not channel.idle
        with pytest.raises(ConsoleError, match="`sleep 60` has not ended"):
            channel.run("echo hi", 10)


def test_files_go_both_ways_unharmed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 300
    path = tmp_path / "file with ' in it"
    with shell(talkative(2, 0.02)) as channel:
        channel.put(str(path), data, 0o750, 60)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o750
        assert channel.get(str(path), 60) == data


def test_a_file_that_is_not_there_is_the_guests_answer(tmp_path: Path) -> None:
    with shell() as channel, pytest.raises(GuestFileError, match="No such file"):
        channel.get(str(tmp_path / "none"), 10)


def test_a_shell_that_never_comes_is_a_timeout_with_what_was_seen() -> None:
    ours, theirs = os.openpty()
    transcript = Transcript(None)
    stream = transcript.stream("ttyAMA0")
    stream.append(b"[    0.000000] Booting Linux\n")
    channel = ShellChannel(Line(ours, stream, transcript), lambda: None)
    with pytest.raises(GuestTimeout, match="Booting Linux"):
        channel.open("abcd0123", 0.2)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("script", ["while ask; do read name; done", "ask; cat >/dev/null"])
def test_a_guest_that_asks_for_a_login_is_the_users_to_mend(script: str) -> None:
    ask = "ask() { printf 'buildroot login: '; }"
    with wire(["sh", "-c", f"{ask}; {script}"], {}) as line:
        Cursor(line.stream, 0).find(re.compile(b"login: "), 20)
        with pytest.raises(UserError, match="asks for a login"):
            ShellChannel(line, lambda: None).open("abcd0123", 20)
