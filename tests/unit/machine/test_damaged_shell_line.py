# SPDX-License-Identifier: MIT
"""A real shell on a line that loses, doubles or splits bytes: every answer is right, every command
is run once, and nothing ends in a timeout.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.machine.errors import GuestFileError, GuestTimeout
from harness.machine.guestloop import knock, upload
from harness.machine.shell import ShellChannel
from tests.unit.machine.damaged import TO_GUEST, Damage, Wire, damage_all, name, shell_line

TIMEOUT = 60.0
"""Far from any time that is needed: what comes to it hangs."""
CONTENT = bytes(range(256)) * 2


class Guest:
    """The shell and what is asked of it. An exchange checks its own result."""

    def __init__(self, channel: ShellChannel, wire: Wire, directory: Path) -> None:
        self.channel = channel
        self.wire = wire
        self.directory = directory
        self.runs = 0
        (directory / "content").write_bytes(CONTENT)

    def open(self) -> None:
        """The loop is not there yet."""
        self.wire.disarm()
        with contextlib.suppress(GuestTimeout):
            self.channel.run("exit", 0.05)
        self.wire.rearm()
        assert self.channel.open(os.urandom(4).hex(), TIMEOUT) > 0
        self.runs = 0

    def open_again(self) -> None:
        """The loop is there, as in a clone."""
        assert self.channel.open(os.urandom(4).hex(), TIMEOUT) > 0

    def run(self) -> None:
        """A command that counts how often it was run."""
        self.runs += 1
        result = self.channel.run("n=$((n + 1)); echo $n; echo ' @' >&2\n(exit 13)", TIMEOUT)
        assert (result.text, result.stderr, result.status) == (f"{self.runs}\n", b" @\n", 13)

    def get(self) -> None:
        """A file."""
        assert self.channel.get(str(self.directory / "content"), TIMEOUT) == CONTENT

    def fail(self) -> None:
        """A file that is not there."""
        with pytest.raises(GuestFileError, match="No such file"):
            self.channel.get(str(self.directory / "none"), TIMEOUT)

    def put(self) -> None:
        """A file."""
        self.channel.put(str(self.directory / "new"), CONTENT, 0o600, TIMEOUT)
        assert (self.directory / "new").read_bytes() == CONTENT


STEPS: dict[Callable[[Guest], None], int] = {
    Guest.open: 397,
    Guest.open_again: 71,
    Guest.run: 29,
    Guest.get: 131,
    Guest.fail: 71,
    Guest.put: 211,
}
"""Of how many bytes of an exchange one is damaged here. `tests/faults` damages every one."""


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Guest]:
    with shell_line(monkeypatch) as (channel, wire):
        found = Guest(channel, wire, tmp_path)
        channel.open("abcd0123", TIMEOUT)
        yield found


@pytest.mark.parametrize("exchange", STEPS, ids=name)
def test_no_byte_that_is_lost_doubled_or_split_makes_a_difference(
    guest: Guest, exchange: Callable[[Guest], None]
) -> None:
    damage_all(guest, exchange, STEPS[exchange])


@pytest.mark.parametrize(("what", "way"), [("-d)", "lost"), ("$(", "doubled"), ("$(", "lost")])
def test_a_bracket_that_is_left_open_swallows_one_try_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, way: str
) -> None:
    nonce = "0" * 8
    text = "\n".join([*knock(nonce), *upload(nonce)])
    at = text.index(what, text.index("_h=")) + len(what) - 1
    with shell_line(monkeypatch) as (channel, wire):
        channel.open("abcd0123", TIMEOUT)
        guest = Guest(channel, wire, tmp_path)
        wire.arm(Damage(TO_GUEST, at, way))
        guest.open()
        guest.run()
