# SPDX-License-Identifier: MIT
"""A connection, and how it can fail, without QEMU."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from harness.guest.ssh import watch
from harness.guest.ssh.errors import ForeignHostKey, SshError
from harness.guest.ssh.keys import Keys
from harness.machine.errors import GuestCrash, GuestTimeout, QemuDied
from tests.unit.guest.ssh.fake import FakeGuest, fake_guest


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[FakeGuest]:
    """A guest whose commands run in a shell of this host."""
    with fake_guest(tmp_path) as guest:
        yield guest


@pytest.fixture
def short_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine neither crashes nor ends: no need to wait long for a reason in its log."""
    monkeypatch.setattr(watch, "LAST_WORDS", 0.1)


def hang(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
    """Never answers; tells that it has begun. What kills it afterwards ends at once."""
    if "kill -9" in command:
        channel.send_exit_status(0)
        return
    guest.log.append(b"begun\n")
    guest.closed.wait(20)


class TestCommands:
    def test_output_error_and_status(self, guest: FakeGuest) -> None:
        said = guest.client().run("echo out; echo err >&2; exit 7", 10)
        assert (said.stdout, said.stderr, said.status) == (b"out\n", b"err\n", 7)
        assert said.command == "echo out; echo err >&2; exit 7"

    def test_a_last_line_that_is_a_comment_is_one(self, guest: FakeGuest) -> None:
        assert guest.client().run("(exit 3) # no more", 10).status == 3

    def test_a_connection_that_ended_is_known(self, guest: FakeGuest) -> None:
        client = guest.client()
        assert client.alive
        guest.drop()
        transport = client.ssh.get_transport()
        assert transport is not None
        transport.join(10)
        assert not client.alive

    def test_a_connection_that_this_end_cut_is_not_used_again(self, guest: FakeGuest) -> None:
        client = guest.client()
        client.abort()
        # At once: the library's thread, which sees the end of the socket, may come later.
        assert not client.alive

    def test_a_command_without_an_answer_is_a_timeout(self, guest: FakeGuest) -> None:
        guest.play = hang
        with pytest.raises(GuestTimeout, match="no answer to `sleep 99` after 0"):
            guest.client().run("sleep 99", 0.3)


@pytest.mark.usefixtures("short_last_words")
class TestWhoAnswers:
    def test_another_host_key_is_refused(self, guest: FakeGuest) -> None:
        other = dataclasses.replace(guest.keys, host=Keys.fresh().host)
        ran: list[str] = []
        guest.play = lambda guest, channel, command: ran.append(command)
        with pytest.raises(ForeignHostKey) as caught:
            guest.client(other)
        for word in (guest.keys.host.fingerprint, other.host.fingerprint, f":{guest.port}"):
            assert word in str(caught.value)
        assert not ran

    def test_a_server_that_refuses_our_key_is_told(self, guest: FakeGuest) -> None:
        other = dataclasses.replace(guest.keys, user=Keys.fresh().user)
        with pytest.raises(SshError, match="refuses its user key"):
            guest.client(other)

    @pytest.mark.parametrize("banner", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
    def test_what_is_no_ssh_server_is_told(
        self, guest: FakeGuest, banner: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def greet(peer: socket.socket) -> None:
            peer.sendall(banner)
            peer.shutdown(socket.SHUT_RDWR)

        monkeypatch.setattr(guest, "greet", greet)
        with pytest.raises(SshError, match=rf"no ssh server.*\n.*ss -ltnp sport = :{guest.port}"):
            guest.client()

    def test_a_port_where_nobody_listens_is_told(self, guest: FakeGuest) -> None:
        guest.stop_listening()
        with socket.create_server(("127.0.0.1", 0)) as free:
            guest.port = free.getsockname()[1]
        with pytest.raises(SshError, match="refused"):
            guest.client()

    def test_a_server_that_says_nothing_is_a_timeout(
        self, guest: FakeGuest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guest, "greet", lambda peer: None)
        with pytest.raises(GuestTimeout, match="connecting to the guest's ssh server"):
            guest.client(timeout=0.3)


class TestEnds:
    def test_a_crash_ends_the_wait_at_once(self, guest: FakeGuest) -> None:
        guest.play = hang
        client = guest.client()
        guest.log.listen(lambda data, _now: guest.panic() if data == b"begun\n" else None)
        with pytest.raises(GuestCrash, match="played"):
            client.run("sleep 99", 60)

    def test_a_crash_ends_the_wait_of_every_thread(self, guest: FakeGuest) -> None:
        guest.play = hang
        client = guest.client()
        begun = threading.Semaphore(0)
        guest.log.listen(lambda data, _now: begun.release() if data == b"begun\n" else None)
        ends: list[BaseException] = []

        def wait() -> None:
            try:
                client.run("sleep 99", 60)
            except GuestCrash as error:
                ends.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert all(begun.acquire(timeout=10) for _ in threads)
        guest.panic()
        for thread in threads:
            thread.join(10)
        assert ["played" in str(error) for error in ends] == [True] * 3

    def test_a_crash_while_connecting_is_a_crash(
        self, guest: FakeGuest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guest, "greet", lambda peer: guest.panic())
        with pytest.raises(GuestCrash, match="played"):
            guest.client()

    def test_a_connection_cut_before_the_log_ends_waits_for_its_last_words(
        self, guest: FakeGuest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch, "LAST_WORDS", 30)

        def cut(guest: FakeGuest, channel: paramiko.Channel, command: str) -> None:
            guest.drop()
            threading.Timer(0.3, guest.log.close).start()

        guest.play = cut
        with pytest.raises(QemuDied):
            guest.client().run("sleep 99", 60)

    @pytest.mark.usefixtures("short_last_words")
    def test_a_server_that_ends_alone_is_told_apart(self, guest: FakeGuest) -> None:
        guest.play = lambda guest, channel, command: guest.drop()
        with pytest.raises(SshError, match=r"lost during `sleep 99`.*kernel live"):
            guest.client().run("sleep 99", 60)


def test_keys_are_made_anew_each_time_and_fit_dropbear_s_format() -> None:
    one, two = Keys.fresh(), Keys.fresh()
    assert one.host != two.host
    assert one.user != two.user
    assert one.host != one.user
    public = one.host.asbytes()
    assert one.host_file[:15] == public[:15], "the kind, as in the public key"
    assert one.host_file[15:19] == (64).to_bytes(4)
    assert one.host_file[51:] == public[19:], "the public half comes last"
    assert len(one.host_file) == 83
    assert one.authorized.split()[:2] == ["ssh-ed25519", one.user.get_base64()]
