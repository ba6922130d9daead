# SPDX-License-Identifier: MIT
"""ssh into real guests: commands, files, whose guest it is, crashes, and the wire to nowhere."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.guest.files import Via
from harness.guest.guest import Guest
from harness.guest.ssh import service
from harness.guest.ssh.errors import ForeignHostKey, SshError, WrongGuest
from harness.guest.ssh.keys import Keys
from harness.machine.config import MachineConfig
from harness.machine.crash import CrashKind
from harness.machine.errors import (
    GuestCrash,
    GuestFileError,
    GuestStopped,
    GuestTimeout,
    QemuDied,
)
from harness.machine.machine import Machine
from harness.machine.network import GATEWAY, GUEST, forwarded_port
from harness.pytest_plugin.boots import Boots
from tests.qemu.test_machine import PROVOKE

pytestmark = pytest.mark.needs("ssh")
BIG = 4 << 20


def ssh(guest: Guest, command: str, timeout: float = 30) -> str:
    return guest.run(command, timeout, via="ssh").text


class TestCommands:
    def test_output_error_and_status_come_apart(self, guest: Guest) -> None:
        said = guest.run("echo out; echo err >&2; exit 3", via="ssh", check=False)
        assert (said.stdout, said.stderr, said.status) == (b"out\n", b"err\n", 3)

    @pytest.mark.every_kernel
    def test_it_is_the_same_guest_as_on_the_console(self, guest: Guest) -> None:
        ssh(guest, "echo hello >/tmp/x")
        assert guest.read_text("/tmp/x") == "hello\n"
        assert ssh(guest, "uname -r").strip() == guest.release()

    def test_a_signal_is_told_as_the_shell_tells_it(self, guest: Guest) -> None:
        said = guest.run("sh -c 'kill -9 $$'", via="ssh", check=False)
        assert said.status == 128 + 9

    def test_much_output_comes_through_unchanged(self, guest: Guest) -> None:
        said = guest.run(f"head -c {BIG} /dev/zero | tr '\\0' x", 60, via="ssh")
        assert said.stdout == b"x" * BIG

    def test_commands_run_at_the_same_time(self, guest: Guest) -> None:
        many = 4
        ssh(guest, "mkdir /tmp/here")
        # Each waits for all the others: one after the other they would never end.
        meet = f"while [ $(ls /tmp/here | wc -l) -lt {many} ]; do usleep 20000; done"
        with concurrent.futures.ThreadPoolExecutor(many) as pool:
            names = [f"n{number}" for number in range(many)]
            said = pool.map(
                lambda name: ssh(guest, f"touch /tmp/here/{name}; {meet}; echo {name}"), names
            )
            assert list(said) == [f"{name}\n" for name in names]

    def test_a_command_that_hangs_is_ended_and_the_next_one_works(self, guest: Guest) -> None:
        for hang in ("sleep 98; true", "while :; do :; done"):
            with pytest.raises(GuestTimeout, match="no answer to"):
                guest.run(hang, 0.5, via="ssh")
        assert ssh(guest, "echo next") == "next\n"
        # What was killed is listed until its parent has taken note.
        guest.run("while pidof sleep; do usleep 5000; done", 10)
        assert "do :; done" not in guest.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").text

    def test_the_client_is_paramiko_s_and_stays_connected(self, guest: Guest) -> None:
        _, out, _ = guest.ssh.exec_command("echo raw")
        assert out.read() == b"raw\n"
        assert guest.ssh.get_transport() is guest.ssh.get_transport()
        guest.ssh.close()
        assert ssh(guest, "echo again") == "again\n"


class TestFiles:
    @pytest.mark.parametrize("via", ["ssh", "console"])
    def test_bytes_go_there_and_back(self, guest: Guest, tmp_path: Path, via: Via) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(os.urandom(300_001 if via == "ssh" else 30_001))
        guest.put(source, "/tmp/it's here", 0o750, via=via)
        assert guest.get("/tmp/it's here", target, via=via) == b""
        assert target.read_bytes() == source.read_bytes()
        assert guest.run('stat -c %a "/tmp/it\'s here"').text == "750\n"

    def test_a_large_file_is_checked_and_its_progress_told(self, guest: Guest) -> None:
        data = os.urandom(BIG)
        there: list[tuple[int, int]] = []
        back: list[tuple[int, int]] = []
        guest.put(data, "/tmp/big", progress=lambda *far: there.append(far))
        assert guest.get("/tmp/big", progress=lambda *far: back.append(far)) == data
        for far in (there, back):
            assert len(far) > 10
            assert far == sorted(far)
            assert far[-1] == (BIG, BIG)
        # QEMU's log of a packet that the card's buffer could not take: a transfer gets slow.
        assert "Failed to send packet" not in guest.machine.transcript.streams["qemu"].text()

    def test_a_file_of_the_kernel_is_got_as_it_is_read(self, guest: Guest) -> None:
        assert float(guest.get("/proc/uptime").split()[0]) > 0

    def test_a_full_disk_is_told_and_nothing_is_left(self, guest: Guest) -> None:
        guest.run("mkdir /tmp/full && mount -t tmpfs -o size=64k full /tmp/full")
        with pytest.raises(GuestFileError, match=r"put /tmp/full/x: .*No space left(.|\n)*memory"):
            guest.put(os.urandom(BIG), "/tmp/full/x")
        assert guest.run("ls /tmp/full").text == ""
        assert ssh(guest, "echo next") == "next\n"

    @pytest.mark.parametrize("path", ["/nowhere/x", "/tmp"])
    def test_a_path_that_cannot_be_written_says_why(self, guest: Guest, path: str) -> None:
        with pytest.raises(GuestFileError, match=r"nonexistent directory|No such|is a directory"):
            guest.put(b"x", path)

    def test_a_file_that_is_not_there_leaves_the_target_alone(
        self, guest: Guest, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        target.write_text("old")
        with pytest.raises(GuestFileError, match=r"get /nowhere: .*(No such|no such)"):
            guest.get("/nowhere", target)
        assert target.read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_mistake_of_the_user_is_told_as_such(self, guest: Guest, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"cannot read .*absent: No such file"):
            guest.put(tmp_path / "absent", "/tmp/x")
        with pytest.raises(UserError, match=r"cannot write .*absent/x: No such file"):
            guest.get("/proc/version", tmp_path / "absent" / "x")


class TestIdentity:
    def test_each_machine_has_keys_and_a_word_of_its_own(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        words = [ssh(guest, f"cat {service.NONCE}").strip() for guest in (one, two)]
        assert words == [one.machine.nonce, two.machine.nonce]
        for path in (service.HOST_KEY, service.AUTHORIZED):
            assert one.read_file(path) != two.read_file(path)

    @pytest.mark.machine("cold")
    def test_a_booted_machine_has_its_word_from_the_command_line(self, guest: Guest) -> None:
        assert f"harness.nonce={guest.machine.nonce}" in ssh(guest, "cat /proc/cmdline").split()

    def test_a_template_keeps_no_keys(self, guest: Guest) -> None:
        found = guest.run("ls -A /etc/dropbear /root/.ssh /run/harness").text.split()
        assert found == ["/etc/dropbear:", "/root/.ssh:", "/run/harness:", *_STATE]

    def test_a_host_key_that_changed_is_refused(self, guest: Guest) -> None:
        assert ssh(guest, "echo fine") == "fine\n"
        guest.ssh.close()
        guest.write_file(service.HOST_KEY, Keys.fresh().host_file, 0o600)
        with pytest.raises(ForeignHostKey, match=r"SHA256:.*no other is taken") as caught:
            guest.run("echo not to be run >/tmp/run", via="ssh")
        assert "/etc/dropbear" in str(caught.value)
        assert guest.run("ls /tmp").text == ""

    def test_another_machine_at_the_port_is_refused(
        self, boots: Boots, machine_config: MachineConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        assert ssh(two, "echo fine") == "fine\n"
        port = forwarded_port(two.machine.qmp.monitor)
        monkeypatch.setattr(service, "forwarded_port", lambda monitor: port)
        with pytest.raises(ForeignHostKey, match=f"127.0.0.1:{port}"):
            one.run("true", via="ssh")

    def test_another_machine_with_the_same_keys_is_known_by_its_word(
        self, boots: Boots, machine_config: MachineConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = Keys.fresh()
        monkeypatch.setattr(Keys, "fresh", lambda: keys)
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        assert ssh(two, "echo fine") == "fine\n"
        port = forwarded_port(two.machine.qmp.monitor)
        monkeypatch.setattr(service, "forwarded_port", lambda monitor: port)
        with pytest.raises(WrongGuest, match=f"{two.machine.nonce}.*{one.machine.nonce}"):
            one.run("echo not to be run >/tmp/run", via="ssh")
        assert two.run("ls /tmp").text == ""

    def test_a_password_does_not_let_in(self, guest: Guest) -> None:
        import paramiko

        guest.run("true", via="ssh")
        with contextlib.closing(_raw(guest)) as peer:
            transport = paramiko.Transport(peer)
            transport.start_client(timeout=30)
            with pytest.raises(paramiko.BadAuthenticationType) as caught:
                transport.auth_password("root", "")
            assert caught.value.allowed_types == ["publickey"]
            transport.close()


_STATE = ["ssh", "ssh.log", "ssh.pid"]


STARTED = "touch /tmp/started; sleep 99"
AWAIT_START = "until [ -e /tmp/started ]; do usleep 5000; done"


class TestEnds:
    @pytest.mark.parametrize(("what", "kind"), [("PANIC", CrashKind.PANIC), ("BUG", CrashKind.BUG)])
    def test_a_crash_ends_every_command_at_once(
        self, guest: Guest, what: str, kind: CrashKind
    ) -> None:
        assert ssh(guest, "echo fine") == "fine\n"
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(ssh, guest, STARTED, 120) for _ in range(2)]
            guest.run(AWAIT_START)
            with pytest.raises(GuestCrash) as caught:
                guest.run(f"echo {what} >{PROVOKE}; sleep 99", 120, via="ssh")
            for other in waiting:
                with pytest.raises(GuestCrash, match="lkdtm"):
                    other.result()
        assert caught.value.crash.kind is kind
        assert "lkdtm" in caught.value.crash.trace

    @pytest.mark.parametrize("way", ["put", "get"])
    def test_a_crash_in_a_transfer_is_a_crash(self, guest: Guest, way: str) -> None:
        started = threading.Event()

        def move() -> None:
            if way == "put":
                guest.put(bytes(64 << 20), "/tmp/x", progress=lambda *far: started.set())
            else:
                guest.get("/dev/zero", progress=lambda *far: started.set())

        assert ssh(guest, "echo fine") == "fine\n"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            moving = pool.submit(move)
            assert started.wait(30)
            with pytest.raises(GuestCrash):
                guest.run(f"echo PANIC >{PROVOKE}; sleep 99", 30)
            with pytest.raises(GuestCrash, match="panic"):
                moving.result(5)

    def test_a_killed_qemu_is_not_the_guest_s_fault(self, guest: Guest) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            ssh(guest, "true")
            waiting = pool.submit(ssh, guest, STARTED, 120)
            guest.run(AWAIT_START)
            os.kill(guest.machine.pid, signal.SIGKILL)
            with pytest.raises(QemuDied, match="-9"):
                waiting.result(5)

    def test_a_guest_that_powers_off_says_so(self, guest: Guest) -> None:
        with pytest.raises(GuestStopped, match="powered off"):
            guest.run("poweroff -f; sleep 99", 120, via="ssh")

    def test_a_server_that_ends_is_told_apart_from_a_guest_that_ends(self, guest: Guest) -> None:
        with pytest.raises(SshError, match=r"lost during `kill -9 \$PPID.*kernel live"):
            guest.run("kill -9 $PPID; sleep 99", 30, via="ssh")
        assert guest.run("echo alive").text == "alive\n"
        assert ssh(guest, "echo anew") == "anew\n"

    def test_nothing_of_a_connection_is_left_after_the_machine(self, guest: Guest) -> None:
        transport = guest.ssh.get_transport()
        assert transport is not None
        guest.machine.close()
        transport.join(5)
        assert not transport.is_alive()


class TestClones:
    def test_fifty_sessions_to_fifty_clones_two_at_a_time(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        template = boots.templates.get(machine_config)

        def session(number: int) -> str:
            with template.clone() as machine:
                return ssh(Guest(machine), f"echo {number}; cat {service.NONCE}")

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            said = [text.split() for text in pool.map(session, range(50))]
        assert [number for number, _ in said] == [str(number) for number in range(50)]
        assert len({word for _, word in said}) == 50

    def test_the_server_s_random_numbers_are_each_clone_s_own(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        """Its first message holds 16 of them, from before anybody has authenticated."""
        cookies = []
        for _ in range(3):
            guest = boots.clone(machine_config, "booted", None)
            with _raw(guest) as peer, peer.makefile("rb") as stream:
                assert stream.readline().startswith(b"SSH-2.0-dropbear")
                packet = stream.read(22)
            assert packet[5] == 20, "KEXINIT (RFC 4253, 7.1)"
            cookies.append(packet[6:])
        assert len(set(cookies)) == 3

    def test_a_template_after_ssh_was_used_gives_fresh_connections(
        self, boots: Boots, machine_config: MachineConfig, tmp_path: Path
    ) -> None:
        boots.templates = type(boots.templates)(tmp_path)

        def prepare(machine: Machine) -> None:
            ssh = service.Ssh(machine)
            ssh.run("echo prepared >/tmp/x", 30)
            machine.channel.run("true", 10)

        one = boots.clone(machine_config, "with ssh in use", prepare)
        assert "incoming" in " ".join(one.machine.argv)
        assert ssh(one, "cat /tmp/x") == "prepared\n"


@contextlib.contextmanager
def listener() -> Iterator[socket.socket]:
    """A server on this host's loopback, at a port of the kernel's choice."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class TestTheWire:
    def test_the_guest_reaches_nothing_on_this_host(self, guest: Guest) -> None:
        with listener() as server:
            port = server.getsockname()[1]
            said = guest.run(
                f"busybox nc -w 3 {GATEWAY} {port} </dev/null", 20, check=False, via="ssh"
            )
            assert said.status != 0
            server.settimeout(0.2)
            with pytest.raises(TimeoutError):
                server.accept()

    def test_no_name_is_resolved(self, guest: Guest) -> None:
        # Without the restriction QEMU's own 10.0.2.3 passes the question on, and says NXDOMAIN.
        ask = "busybox nslookup harness.invalid 10.0.2.3"
        said = guest.run(ask, 30, check=False, via="ssh")
        assert "no servers could be reached" in said.text

    def test_the_forwarded_port_is_on_loopback_alone(self, guest: Guest) -> None:
        answer = guest.machine.qmp.monitor("info usernet")
        forwards = [line.split() for line in answer.splitlines() if "HOST_FORWARD" in line]
        assert [(words[2], words[4], words[5]) for words in forwards] == [
            ("127.0.0.1", GUEST, "22")
        ]


class TestWithoutAServer:
    @pytest.fixture
    def bare(self, boots: Boots, machine_config: MachineConfig) -> Guest:
        images = machine_config.images
        without = dataclasses.replace(images, features=images.features - {"ssh"})
        return boots.clone(dataclasses.replace(machine_config, images=without), "booted", None)

    def test_the_console_serves_with_the_same_calls(self, bare: Guest, tmp_path: Path) -> None:
        far: list[tuple[int, int]] = []
        bare.put(b"data", "/tmp/x", progress=lambda *now: far.append(now))
        assert bare.get("/tmp/x") == b"data"
        assert bare.get("/tmp/x", tmp_path / "x") == b""
        assert (tmp_path / "x").read_bytes() == b"data"
        assert bare.run("echo hello", via="ssh").text == "hello\n"
        assert far == [(4, 4)]

    def test_ssh_itself_says_that_it_is_not_there(self, bare: Guest) -> None:
        with pytest.raises(UserError, match="no ssh server"):
            _ = bare.ssh

    @pytest.mark.machine("cold", append="initcall_blacklist=smsc911x_init_module")
    def test_a_kernel_without_the_card_s_driver_has_the_console(self, guest: Guest) -> None:
        with pytest.raises(UserError, match=r"no network: .*CONFIG_SMSC911X"):
            _ = guest.ssh
        guest.put(b"data", "/tmp/x")
        assert guest.get("/tmp/x") == b"data"


def _raw(guest: Guest) -> socket.socket:
    return socket.create_connection(("127.0.0.1", forwarded_port(guest.machine.qmp.monitor)), 30)
