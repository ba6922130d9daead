# SPDX-License-Identifier: MIT
"""Files over a connection: sums, progress, and the guest's reasons, without QEMU."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from harness.guest.ssh import transfer
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestCrash, GuestFileError
from tests.unit.guest.ssh.fake import FakeGuest, fake_guest, in_a_shell

DATA = os.urandom(1 << 20)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[FakeGuest]:
    """A guest whose commands run in a shell of this host."""
    with fake_guest(tmp_path) as guest:
        yield guest


def put(guest: FakeGuest, path: str, data: bytes = DATA) -> list[tuple[int, int]]:
    far: list[tuple[int, int]] = []
    deadline = Deadline(20)
    source = io.BytesIO(data)
    transfer.put(
        guest.client(), source, len(data), path, 0o640, deadline, lambda *now: far.append(now)
    )
    return far


def get(guest: FakeGuest, path: str) -> bytes:
    target = io.BytesIO()
    transfer.get(guest.client(), path, target, Deadline(20), lambda done, total: None)
    return target.getvalue()


@pytest.mark.parametrize("name", ["x", "-x", "it's a $HOME", "ü"])
def test_there_and_back(guest: FakeGuest, tmp_path: Path, name: str) -> None:
    far = put(guest, name)
    assert (tmp_path / name).read_bytes() == DATA
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
    assert far[-1] == (len(DATA), len(DATA))
    assert get(guest, name) == DATA


@pytest.mark.parametrize("data", [b"", b"\n", b"1\n2\n"])
def test_content_is_not_taken_for_the_size_before_it(guest: FakeGuest, data: bytes) -> None:
    put(guest, "x", data)
    assert get(guest, "x") == data


def test_a_file_that_arrived_damaged_is_told(guest: FakeGuest) -> None:
    def damage(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
        in_a_shell(guest, channel, command.replace("&& sha256sum", "&& echo >>x && sha256sum"))

    guest.play = damage
    with pytest.raises(ConsoleError, match="put x arrived damaged"):
        put(guest, "x")


def test_what_is_got_damaged_is_told(guest: FakeGuest, tmp_path: Path) -> None:
    def damage(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
        in_a_shell(guest, channel, command.replace("tee /proc/self/fd/3", "tee"))

    (tmp_path / "x").write_bytes(DATA)
    guest.play = damage
    with pytest.raises(ConsoleError, match="get x arrived damaged"):
        get(guest, "x")


def test_a_guest_that_cannot_write_says_why(guest: FakeGuest, tmp_path: Path) -> None:
    with pytest.raises(GuestFileError, match=r"in the guest, put no/x: .*No such|nonexistent"):
        put(guest, "no/x")
    (tmp_path / "d").mkdir()
    with pytest.raises(GuestFileError, match="put d: it is a directory"):
        put(guest, "d")


def test_a_full_disk_says_what_to_do_and_leaves_nothing(guest: FakeGuest, tmp_path: Path) -> None:
    def full(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
        words = "{ head -c 10 >x; echo 'cat: write error: No space left on device' >&2; false; }"
        in_a_shell(guest, channel, command.replace("cat >./x", words))

    guest.play = full
    with pytest.raises(GuestFileError, match=r"write error: No space left(.|\n)*more memory"):
        put(guest, "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "why"), [("no", "(?i)no such file"), (".", "it is a directory")])
def test_a_guest_that_cannot_read_says_why(guest: FakeGuest, path: str, why: str) -> None:
    with pytest.raises(GuestFileError, match=why):
        get(guest, path)


def test_a_guest_that_dies_in_a_transfer_is_a_crash(guest: FakeGuest, tmp_path: Path) -> None:
    def die(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
        channel.sendall(b"1000000\n" + DATA[:1000])
        guest.panic()
        channel.recv(1)

    guest.play = die
    with pytest.raises(GuestCrash, match="played"):
        get(guest, "x")
