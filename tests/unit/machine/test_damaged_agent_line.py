# SPDX-License-Identifier: MIT
"""The real agent on a line that loses, doubles or splits bytes: every answer is right, every
command is run once, and nothing ends in a timeout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from harness.machine.agent import AgentChannel
from harness.machine.errors import ConsoleError, GuestFileError, GuestTimeout
from harness.machine.requests import AnswerLost, Requests
from tests.unit.machine.damaged import (
    TO_GUEST,
    TO_HOST,
    Damage,
    Wire,
    agent_line,
    damage_all,
    name,
)

TIMEOUT = 20.0
"""Far from any time that is needed: what comes to it hangs."""
CONTENT = bytes(range(256)) * 9 + b"@@@\n@0 1 1 exit 5 00000000 00000000\n"


class Guest:
    """The agent and what is asked of it. An exchange checks its own result."""

    def __init__(self, channel: AgentChannel, wire: Wire, directory: Path) -> None:
        self.channel = channel
        self.wire = wire
        self.directory = directory
        self.runs = 0
        (directory / "content").write_bytes(CONTENT)
        (directory / "content2").write_bytes(b"")

    def hello(self) -> None:
        """A new nonce."""
        assert self.channel.open(os.urandom(4).hex(), TIMEOUT) > 0

    def ping(self) -> None:
        """A sign of life."""
        assert self.channel.probe(TIMEOUT) > 0

    def run(self) -> None:
        """A command that counts how often it was run."""
        self.runs += 1
        result = self.channel.run("n=$((n + 1)); echo $n; echo ' @' >&2; (exit 3)", TIMEOUT)
        assert (result.text, result.stderr, result.status) == (f"{self.runs}\n", b" @\n", 3)

    def kill(self) -> None:
        """A command that times out; a damaged request or answer must not leave it running."""
        with pytest.raises(GuestTimeout):
            self.channel.run("n=0; echo begun; sleep 60", 0.02)
        self.runs = 0
        self.channel.run("n=0", TIMEOUT)

    def get(self) -> None:
        """A file that looks like frames."""
        assert self.channel.get(str(self.directory / "content"), TIMEOUT) == CONTENT

    def fail(self) -> None:
        """A file that is not there."""
        with pytest.raises(GuestFileError, match="No such file"):
            self.channel.get(str(self.directory / "none"), TIMEOUT)

    def many(self) -> None:
        """Files by pattern."""
        files = self.channel.get_many([str(self.directory / "content*")], TIMEOUT)
        assert sorted(map(len, files.values())) == [0, len(CONTENT)]

    def put(self) -> None:
        """A file."""
        self.channel.put(str(self.directory / "new"), CONTENT, 0o600, TIMEOUT)
        assert (self.directory / "new").read_bytes() == CONTENT

    def nonce(self) -> None:
        """The nonce in a file."""
        self.channel.leave_nonce(str(self.directory / "nonce"), TIMEOUT)


STEPS: dict[Callable[[Guest], None], int] = {
    Guest.hello: 1,
    Guest.ping: 3,
    Guest.run: 3,
    Guest.kill: 17,
    Guest.get: 29,
    Guest.fail: 7,
    Guest.many: 29,
    Guest.put: 97,
    Guest.nonce: 7,
}
"""Of how many bytes of an exchange one is damaged here. `tests/faults` damages every one."""


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Guest]:
    with agent_line(monkeypatch) as (channel, wire):
        found = Guest(channel, wire, tmp_path)
        found.hello()
        yield found


@pytest.mark.parametrize("exchange", STEPS, ids=name)
def test_no_byte_that_is_lost_doubled_or_split_makes_a_difference(
    guest: Guest, exchange: Callable[[Guest], None]
) -> None:
    damage_all(guest, exchange, STEPS[exchange])


@pytest.mark.parametrize("direction", [TO_GUEST, TO_HOST])
def test_what_is_said_again_may_be_damaged_as_well(guest: Guest, direction: str) -> None:
    damage_all(guest, Guest.run, 17, (Damage(direction, 1, "lost"),))


def test_a_command_whose_output_was_lost_can_be_followed_by_another(guest: Guest) -> None:
    guest.wire.arm(*[Damage(TO_HOST, at, "lost") for at in range(1000, 2_000_000, 100)])
    with pytest.raises((GuestTimeout, ConsoleError)):
        guest.channel.run("while :; do echo $n; done", 0.2)
    guest.wire.arm()
    assert guest.channel.run("echo next", TIMEOUT).text == "next\n"


def test_a_command_that_does_not_end_is_ended_when_its_output_is_lost(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_words: object) -> NoReturn:
        raise AnswerLost("more was lost than the agent keeps")

    with monkeypatch.context() as patched:
        patched.setattr(Requests, "next", lost)
        with pytest.raises(AnswerLost):
            guest.channel.run("while :; do sleep 600; done", TIMEOUT)
    assert guest.channel.run("echo next", TIMEOUT).text == "next\n"


def test_a_command_that_does_not_end_is_told_from_an_agent_that_does_not_answer(
    guest: Guest,
) -> None:
    with pytest.raises(GuestTimeout, match=r"the agent is alive: it answered \d+\.\d s ago"):
        guest.channel.run("sleep 60", 0.5)


def test_a_command_that_prints_without_end_is_late_and_makes_room_for_the_next(
    guest: Guest,
) -> None:
    with pytest.raises(GuestTimeout):
        guest.channel.run("yes", 0.5)
    assert guest.channel.run("echo next", TIMEOUT).text == "next\n"


def test_a_long_piece_that_is_lost_does_not_keep_the_line_waiting(guest: Guest) -> None:
    guest.wire.arm(*[Damage(TO_GUEST, at, "lost") for at in range(500, 1500)])
    guest.put()
