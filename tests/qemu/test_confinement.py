# SPDX-License-Identifier: MIT
"""What QEMU's process may do, as the kernel of the host tells it, and what it holds."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from pathlib import Path

import pytest

from harness.guest.guest import Guest
from harness.host import confine as host
from harness.imageset.features import Feature
from harness.machine import confine
from harness.machine.config import MachineConfig
from harness.machine.confine import Means
from harness.machine.machine import Machine
from harness.pytest_plugin.boots import Boots

pytestmark = pytest.mark.needs("agent")


@pytest.fixture(autouse=True)
def confined(guest: Guest) -> None:
    if confine.means() is not Means.NAMESPACES:
        pytest.skip(f"QEMU is confined by {confine.means().value}")


def status(machine: Machine) -> dict[str, str]:
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def namespace(pid: int | str, name: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{name}").readlink())


def test_it_has_no_rights_and_can_get_none(guest: Guest) -> None:
    found = status(guest.machine)
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2", "its system calls are filtered"
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
    if host.other_uid() is not None:
        assert found["Uid"].split() == [str(host.other_uid())] * 4
        assert found["Groups"].strip() == ""


def test_it_sees_the_system_and_nothing_else(guest: Guest) -> None:
    root = Path(f"/proc/{guest.machine.pid}/root")
    there = {path.name for path in root.iterdir()}
    assert there <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "usr"}
    mounts = Path(f"/proc/{guest.machine.pid}/mountinfo").read_text().splitlines()
    writable = {line.split()[4] for line in mounts if not re.match(r"ro\b", line.split()[5])}
    assert writable <= {"/proc", "/dev/null", "/dev/urandom"}


def test_its_environment_is_bare(guest: Guest) -> None:
    environment = Path(f"/proc/{guest.machine.pid}/environ").read_bytes()
    names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names <= {b"PATH", b"HARNESS_SESSION", b"PWD"}


def test_it_has_a_network_only_for_ssh(boots: Boots, machine_config: MachineConfig) -> None:
    features = machine_config.images.features - {Feature.SSH}
    images = dataclasses.replace(machine_config.images, features=features)
    alone = boots.clone(dataclasses.replace(machine_config, images=images), "booted", None)
    assert namespace(alone.machine.pid, "net") != namespace("self", "net")
    for name in ("pid", "ipc", "uts", "mnt"):
        assert namespace(alone.machine.pid, name) != namespace("self", name)


def test_it_holds_no_file_of_the_host_that_it_could_change(guest: Guest) -> None:
    for entry in Path(f"/proc/{guest.machine.pid}/fd").iterdir():
        info = Path(f"/proc/{guest.machine.pid}/fdinfo/{entry.name}").read_text()
        flags = int(re.search(r"flags:\s+(\d+)", info)[1], 8)  # type: ignore[index]
        found = entry.stat()
        if stat.S_ISREG(found.st_mode) and flags & os.O_ACCMODE != os.O_RDONLY:
            # What has no name was made for it alone, or is sealed.
            assert found.st_nlink == 0, entry.readlink()


def test_its_template_s_ram_stays_as_it_is(boots: Boots, machine_config: MachineConfig) -> None:
    guest = boots.clone(machine_config, "booted", None)
    maps = Path(f"/proc/{guest.machine.pid}/maps").read_text()
    (line,) = {line for line in maps.splitlines() if re.search(r"memfd:ram|/ram$", line)}
    assert line.split()[1].endswith("p"), "mapped privately"
