# SPDX-License-Identifier: MIT
"""The plugin as its user sees it: failures that explain themselves, the shell, the fall-back."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from pexpect import fdpexpect

from harness.errors import HarnessError
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine
from harness.pytest_plugin.boots import Boots

pytestmark = pytest.mark.needs("agent")

ROOT = Path(__file__).resolve().parents[2]
TEST = """
def test_it(guest):
    {body}
"""


@pytest.fixture
def project(tmp_path: Path, machine_config: MachineConfig) -> Path:
    """A directory with a conftest like ours; its images are those of this run: none is built."""
    machine_config.images.write(tmp_path / "set.json")
    # Where the temporary directory is in a checkout, that is not to be taken for the project.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["harness.pytest_plugin"]\n')
    return tmp_path


@contextlib.contextmanager
def terminal(project: Path, columns: int, *options: str) -> Iterator[Any]:
    """pytest on a terminal of so many columns; a pexpect object.

    pexpect's own would fork this process, whose threads may hold locks then.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    argv = ["-m", "pytest", "--qemu", "--qemu-image-set", "set.json", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        [sys.executable, *argv, *options, "test_it.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield fdpexpect.fdspawn(ours, timeout=60, encoding="utf-8")
        finally:
            process.terminate()
            process.wait()
            os.close(ours)


def run(project: Path, body: str, *options: str, keys: str = "") -> str:
    """Runs one test on a terminal, types `keys` where a shell opens; what was printed."""
    (project / "test_it.py").write_text(TEST.format(body=body))
    with terminal(project, 200, "--color=no", *options) as child:
        said = ""
        if keys:
            child.expect("leave: Ctrl-]")
            said = child.before
            child.send("\r")
            child.expect("[/~] # ")  # from BusyBox 1.37 on the home, /, is a tilde
            child.send(keys + "\r")
            child.expect(r"answer=\d+")
            said += child.after
            child.send("\x1d")
        child.expect(pexpect.EOF)
        return f"{said}{child.before}"


def test_a_failed_judgement_is_told_with_verdict_and_command(project: Path) -> None:
    said = run(project, "guest.insmod('area=default'); guest.judge(guest.run_app()[0].phys)")
    assert re.search(r"WrongArea \(product\): 0x69\w+-0x69\w+ is in linux,cma", said)
    assert re.search(r"BiscuitOS_cma .* expected", said), "the map is drawn"
    assert "insmod" in said, "the last commands are listed"
    assert "expected BiscuitOS_cma (0x69800000-0x69ffffff)" in said
    assert "verdict: product" in said
    assert re.search(r"the same again:\s+qemu-system-arm -M vexpress-a9", said)


def test_a_warning_that_nobody_waited_for_fails_the_test(project: Path) -> None:
    said = run(
        project, "guest.run('echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT', check=False)"
    )
    assert "1 failed" in said
    assert "verdict: crash" in said
    assert "lkdtm" in said


def test_the_console_is_shown_live(project: Path) -> None:
    said = run(project, "guest.run('echo seen >/dev/console')", "--qemu-console")
    assert re.search(r"ttyAMA0 +seen", said)


def test_a_failed_test_s_machine_opens_on_the_terminal(project: Path) -> None:
    said = run(
        project,
        "guest.run('echo 42 >/tmp/left'); assert False",
        "--qemu-shell",
        keys="echo answer=$(cat /tmp/left)",
    )
    assert "answer=42" in said
    assert "1 failed" in said


def test_a_machine_waits_for_gdb_and_no_deadline_ends_meanwhile(project: Path) -> None:
    (project / "test_it.py").write_text(TEST.format(body="guest.run('true', timeout=0.01)"))
    with terminal(project, 400, "--qemu-gdb") as child:
        child.expect(r"target remote (\S+)'")
        with socket.socket(socket.AF_UNIX) as gdb:
            gdb.connect(child.match[1])
            gdb.sendall(b"$?#3f")
            answer = b""
            while not re.search(rb"#..", answer):
                answer += gdb.recv(100)
            assert b"$T05" in answer, "the processor is stopped"
            gdb.sendall(b"+$D#44")  # detach: it runs
            child.expect("1 passed")
        child.expect(pexpect.EOF)


REFUSING = """
import pytest
from harness.errors import HarnessError
from harness.machine.machine import Machine

def refuse(machine, timeout=0):
    raise HarnessError("no restore today")

Machine.restore = refuse

@pytest.mark.parametrize("number", range(5))
def test_it(guest, number):
    assert guest.run("echo alive").text == "alive\\n"
    assert "-incoming" not in guest.machine.argv
"""


def test_where_cloning_fails_boots_take_its_place_and_one_line_says_so(project: Path) -> None:
    (project / "test_it.py").write_text(REFUSING)
    with terminal(project, 400, "--color=no") as child:
        child.expect(pexpect.EOF)
        said = child.before
    assert "5 passed" in said
    told = re.findall(
        r"(\d+) machines were booted in place of clones, which took \d+ s: (.*);", said
    )
    assert told == [("5", "no restore today")]
    assert "warning" not in said


def test_a_strict_run_takes_no_boot_for_a_clone(
    boots: Boots, machine_config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(machine: Machine, timeout: float = 0) -> None:
        raise HarnessError("no restore today")

    monkeypatch.setattr(Machine, "restore", refuse)
    settings = dataclasses.replace(boots._session.settings, strict=True)
    monkeypatch.setattr(boots._session, "settings", settings)
    with pytest.raises(HarnessError, match="no restore today"):
        boots.clone(machine_config, "booted", None)


def test_a_module_and_an_application_are_tried_without_a_rebuild(
    project: Path, image_set: ImageSet
) -> None:
    assert image_set.module is not None
    assert image_set.app is not None
    for path in (image_set.module, image_set.app):
        (project / path.name).write_bytes(path.read_bytes())
    body = "guest.insmod(); guest.run_app(); print(guest.module_path(), guest.app_path()); assert 0"
    given = ["--qemu-module", image_set.module.name, "--qemu-app", image_set.app.name]
    said = run(project, body, *given)
    assert f"/tmp/{image_set.module.name} /tmp/{image_set.app.name}" in said
    assert re.search(r"insmod /tmp/cma\.ko +-> 0", said)


def test_a_module_for_another_kernel_is_told_before_the_boot(
    project: Path, image_set: ImageSet
) -> None:
    assert image_set.module is not None
    magic = b"vermagic=" + image_set.release.encode()
    other = magic[:-1] + (b"0" if magic[-1:] != b"0" else b"1")
    content = image_set.module.read_bytes()
    assert magic in content
    (project / "other.ko").write_bytes(content.replace(magic, other))
    said = run(project, "raise AssertionError('booted')", "--qemu-module", "other.ko")
    release = other.removeprefix(b"vermagic=").decode()
    assert f"other.ko was built for Linux {release}, the kernel is {image_set.release}" in said
    assert "booted" not in said
    assert "Traceback" not in said
