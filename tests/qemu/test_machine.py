# SPDX-License-Identifier: MIT
"""The machine layer on a real QEMU: clones, files, crashes, hangs, ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from pathlib import Path

import pytest

from harness.board import DISPLAY, DISPLAY_CONTROL
from harness.guest.guest import Guest
from harness.imageset.features import Feature
from harness.machine import process, stirrer
from harness.machine.bus import Bus
from harness.machine.config import MachineConfig
from harness.machine.crash import CrashKind
from harness.machine.deadline import Deadline
from harness.machine.errors import (
    CommandFailed,
    GuestCrash,
    GuestFileError,
    GuestStopped,
    GuestTimeout,
    MachineError,
    QemuDied,
)
from harness.machine.machine import Machine
from harness.machine.qmp import Qmp
from harness.machine.template import TemplateStore
from harness.pytest_plugin.boots import Boots

pytestmark = pytest.mark.needs("agent")

PROVOKE = "/sys/kernel/debug/provoke-crash/DIRECT"


class TestClones:
    def test_what_one_clone_does_another_does_not_see(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        one.run("echo dirty >/tmp/file")
        one.insmod()
        assert two.run("[ -e /tmp/file ]", check=False).status != 0
        assert "cma" not in two.modules()
        assert one.run("cat /tmp/file").text == "dirty\n"

    def test_each_machine_has_a_word_of_its_own(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        assert one.machine.nonce != two.machine.nonce

    def test_clones_do_not_share_their_random_numbers(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        read = "head -c 16 /dev/urandom | hexdump -v -e '1/1 \"%02x\"'"
        one, two = (boots.clone(machine_config, "booted", None) for _ in range(2))
        assert one.run(read).text != two.run(read).text

    def test_clones_of_a_system_without_our_agent_do_not_either(
        self, boots: Boots, machine_config: MachineConfig
    ) -> None:
        read = "head -c 16 /dev/urandom | hexdump -v -e '1/1 \"%02x\"'"
        config = without_agent(machine_config)
        one, two = (boots.clone(config, "booted", None) for _ in range(2))
        assert all("incoming" in " ".join(guest.machine.argv) for guest in (one, two))
        assert one.run(read).text != two.run(read).text
        assert one.run("find / -xdev -name '.h*.s'").text == ""

    def test_a_clone_that_cannot_be_given_any_is_refused(
        self, machine_config: MachineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stirrer, "program", lambda fresh: b"no program")
        template = TemplateStore(tmp_path).get(without_agent(machine_config))
        with pytest.raises(MachineError, match="took no fresh randomness"):
            template.clone().close()

    def test_time_goes_on_and_timers_fire(self, guest: Guest) -> None:
        before = float(guest.read_text("/proc/uptime").split()[0])
        guest.run("sleep 0.2")
        assert 0.15 < float(guest.read_text("/proc/uptime").split()[0]) - before < 10

    @pytest.mark.machine("loaded")
    def test_a_template_after_insmod_has_the_driver(self, guest: Guest) -> None:
        assert "cma" in guest.modules()
        assert guest.run_app()[0].phys.start == 0x69800000

    def test_a_damaged_template_is_made_again(
        self, qemu_session: object, machine_config: MachineConfig, tmp_path: Path, boots: Boots
    ) -> None:
        store = TemplateStore(tmp_path)
        template = store.get(machine_config)
        (template.directory / "state").write_bytes(b"no state")
        boots.templates = store
        guest = boots.clone(machine_config, "booted", None)
        assert guest.run("echo alive").text == "alive\n"
        assert "incoming" in " ".join(guest.machine.argv)

    def test_a_disk_is_never_written_and_each_clone_writes_its_own(
        self, boots: Boots, machine_config: MachineConfig, tmp_path: Path
    ) -> None:
        image = tmp_path / "user, image.img"
        image.write_bytes(b"user's data" + bytes((1 << 20) - 11))
        before = image.read_bytes(), image.stat()
        config = dataclasses.replace(
            machine_config, images=dataclasses.replace(machine_config.images, disk=image)
        )

        def prepare(machine: Machine) -> None:
            machine.channel.run("printf template | dd of=/dev/vda conv=notrunc; sync", 10).check()

        boots.templates = TemplateStore(tmp_path / "store")
        one = boots.clone(config, "written", prepare)
        one.run("printf 'clone one' | dd of=/dev/vda conv=notrunc; sync")
        two = boots.clone(config, "written", prepare)
        read = "head -c 11 /dev/vda"
        assert "incoming" in " ".join(two.machine.argv)
        assert two.run(read).stdout == b"templatedata"[:8] + b"ata"
        assert one.run(read).stdout == b"clone oneta"
        three = boots.cold(config)
        assert three.run(read).stdout == b"user's data"
        assert image.read_bytes() == before[0]
        assert image.stat().st_mtime_ns == before[1].st_mtime_ns

    def test_the_display_of_a_clone_goes_on(
        self, boots: Boots, machine_config: MachineConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kernel with a driver for it waits for its vertical blank, and warns without: it must
        not run before, however busy the host is.
        """
        mask, status, clear = (DISPLAY + offset for offset in (0x1C, 0x20, 0x28))

        def prepare(machine: Machine) -> None:
            machine.bus.write(DISPLAY, 0xFC)  # 1024 columns
            machine.bus.write(DISPLAY + 4, 767)  # and a row more
            machine.bus.write(mask, 0)  # nobody in this guest answers its interrupt
            machine.bus.write(DISPLAY_CONTROL, 1 << 11 | 1)  # powered and enabled

        told: list[object] = []
        write, execute = Bus.write, Qmp.execute

        def noted_write(bus: Bus, address: int, value: int) -> None:
            told.append(address)
            write(bus, address, value)

        def noted_command(
            qmp: Qmp, command: str, timeout: float = 10, **arguments: object
        ) -> object:
            told.append(command)
            return execute(qmp, command, timeout, **arguments)

        monkeypatch.setattr(Bus, "write", noted_write)
        monkeypatch.setattr(Qmp, "execute", noted_command)
        machine = boots.clone(machine_config, "display on", prepare).machine
        assert {"-S", "-incoming"} <= set(machine.argv)
        assert told[-2:] == [DISPLAY_CONTROL, "cont"]
        machine.bus.write(clear, 0xFF)
        deadline = Deadline(20)
        while not machine.bus.read(status):
            assert not deadline.expired, "no vertical blank comes"


class TestCommands:
    @pytest.mark.parametrize("status", [0, 1, 2, 127])
    def test_the_exit_status_comes_back(self, guest: Guest, status: int) -> None:
        assert guest.run(f"(exit {status})", check=False).status == status

    def test_output_that_looks_like_a_prompt_is_output(self, guest: Guest) -> None:
        assert guest.run("echo '/ # '; printf 'no newline'").text == "/ # \nno newline"

    def test_bytes_come_through_unchanged(self, guest: Guest) -> None:
        data = bytes(range(256)) * 64
        guest.write_file("/tmp/x", data, 0o640)
        assert guest.read_file("/tmp/x") == data
        assert guest.run("cat /tmp/x").stdout == data
        assert guest.run("stat -c %a /tmp/x").text == "640\n"

    def test_a_file_that_cannot_be_written_says_why(self, guest: Guest) -> None:
        with pytest.raises(GuestFileError, match="No such file"):
            guest.write_file("/nowhere/x", b"")
        guest.run("mkdir /tmp/full && mount -t tmpfs -o size=8k full /tmp/full")
        with pytest.raises(GuestFileError, match="No space"):
            guest.write_file("/tmp/full/x", bytes(1 << 16))

    def test_a_shell_that_exits_is_replaced(self, guest: Guest) -> None:
        assert guest.run("exit 5", check=False).status == 5
        assert guest.run("echo next").text == "next\n"

    def test_a_failing_command_says_what_it_said(self, guest: Guest) -> None:
        with pytest.raises(CommandFailed, match=r"status 3: sorry"):
            guest.run("echo sorry >&2; exit 3")

    def test_a_command_that_hangs_is_ended_and_the_next_one_works(self, guest: Guest) -> None:
        with pytest.raises(GuestTimeout, match="`sleep 99`"):
            guest.run("sleep 99", timeout=0.5)
        assert guest.run("echo next").text == "next\n"
        assert guest.run("pidof sleep", check=False).text == ""


def provoke(guest: Guest, what: str, timeout: float = 30) -> None:
    guest.run(f"echo {what} >{PROVOKE}", timeout, check=False)
    guest.machine.settle()


class TestCrashes:
    @pytest.mark.parametrize(
        ("what", "kind"),
        [
            ("PANIC", CrashKind.PANIC),
            ("BUG", CrashKind.BUG),
            ("EXCEPTION", CrashKind.OOPS),
            ("WARNING", CrashKind.WARNING),
        ],
    )
    def test_a_crash_ends_the_wait(self, guest: Guest, what: str, kind: CrashKind) -> None:
        with pytest.raises(GuestCrash) as caught:
            provoke(guest, what)
        assert caught.value.crash.kind is kind
        assert "lkdtm" in caught.value.crash.trace

    def test_a_panic_on_oops_is_told_as_both(self, guest: Guest) -> None:
        guest.run("echo 1 >/proc/sys/kernel/panic_on_oops")
        with pytest.raises(GuestCrash, match=r"oops \(then panic\)"):
            provoke(guest, "EXCEPTION")

    def test_an_expected_crash_passes_and_the_guest_goes_on(self, guest: Guest) -> None:
        with guest.expect_crash("lkdtm") as crashes:
            provoke(guest, "WARNING")
        assert crashes[0].kind is CrashKind.WARNING
        assert guest.run("echo alive").text == "alive\n"

    def test_another_crash_than_the_expected_one_is_an_error(self, guest: Guest) -> None:
        with pytest.raises(GuestCrash), guest.expect_crash("something else"):
            provoke(guest, "WARNING")

    def test_an_expected_crash_that_does_not_come_is_an_error(self, guest: Guest) -> None:
        with pytest.raises(GuestTimeout, match="no crash like"), guest.expect_crash("x", 0.2):
            guest.run("true")

    def test_running_out_of_memory_is_seen(self, guest: Guest) -> None:
        with guest.expect_crash("out of memory", 60):
            fill = "mount -t tmpfs -o size=2g big /mnt; dd if=/dev/zero of=/mnt/x bs=1M"
            guest.run(fill, timeout=60, check=False)


class TestEnds:
    @pytest.mark.parametrize(("command", "did"), [("poweroff", "powered off"), ("reboot", "reset")])
    def test_a_guest_that_ends_by_itself_is_no_crash(
        self, guest: Guest, command: str, did: str
    ) -> None:
        with pytest.raises(GuestStopped, match=did):
            guest.run(f"{command} -f", timeout=30)

    def test_a_killed_qemu_is_not_the_guest_s_fault(self, guest: Guest) -> None:
        os.kill(guest.machine.pid, signal.SIGKILL)
        with pytest.raises(QemuDied, match="-9"):
            guest.run("true", timeout=30)

    def test_a_hang_with_interrupts_off_is_a_timeout_that_says_where(self, guest: Guest) -> None:
        with pytest.raises(GuestTimeout, match=r"lkdtm|HARDLOCKUP"):
            guest.run(f"echo HARDLOCKUP >{PROVOKE}", timeout=1)

    def test_nothing_is_left_after_close(self, guest: Guest) -> None:
        pid = guest.machine.pid
        guest.machine.close()
        assert not Path(f"/proc/{pid}").exists()
        assert not any(line.startswith(f"{pid} ") for line in process.leaked())


def test_a_kernel_that_says_nothing_is_a_timeout_with_the_command(
    boots: Boots, machine_config: MachineConfig
) -> None:
    images = dataclasses.replace(machine_config.images, append="rdinit=/nowhere panic=0")
    with pytest.raises((GuestTimeout, GuestCrash)):
        boots.cold(dataclasses.replace(machine_config, images=images), timeout=60)


def without_agent(config: MachineConfig) -> MachineConfig:
    """A system that has nothing but its shell, on the line that it shares with the kernel."""
    images = dataclasses.replace(
        config.images, features=config.images.features - {Feature.AGENT, Feature.SSH}
    )
    return dataclasses.replace(config, images=images)


def test_a_console_that_was_talked_to_too_soon_is_heard_all_the_same(
    machine_config: MachineConfig,
) -> None:
    """More waits on the line than its driver takes when it starts: it is told of nothing more."""
    with Machine(without_agent(machine_config)) as machine:
        machine.start()
        machine.console.send(b"\n" * 300, Deadline(10), machine.guard)
        machine.open()
        assert machine.channel.run("echo here", 20).text == "here\n"


def test_a_boot_that_is_stopped_is_slow_and_not_lost(machine_config: MachineConfig) -> None:
    with Machine(without_agent(machine_config)) as machine:
        machine.start()
        machine.log.wait(2000, 30, machine.guard)
        os.kill(machine.pid, signal.SIGSTOP)
        timer = threading.Timer(3, os.kill, (machine.pid, signal.SIGCONT))
        timer.start()
        machine.open()
        timer.join()
        assert machine.channel.run("echo here", 20).text == "here\n"


def test_a_kernel_that_dies_before_its_console_is_heard(machine_config: MachineConfig) -> None:
    config = dataclasses.replace(machine_config, append="mem=8M")
    with Machine(config) as machine:
        machine.start()
        with pytest.raises((GuestCrash, GuestStopped, GuestTimeout), match="reserved mem: fail"):
            machine.open(8)
