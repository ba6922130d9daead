# SPDX-License-Identifier: MIT
"""A machine under a name: what other processes of its user can ask of it, and nobody else."""

from __future__ import annotations

import dataclasses
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.cli import app
from harness.errors import UserError
from harness.guest.guest import Guest
from harness.guest.held import Held, HeldError, directory, served
from harness.imageset.features import OURS
from harness.machine.errors import MachineError

DEADLINE = 30.0


@dataclasses.dataclass
class FakeGuest:
    """A guest that has files, and says what it is told to run."""

    files: dict[str, tuple[bytes, int]] = dataclasses.field(default_factory=dict)
    machine: Any = None

    def put(self, data: bytes, path: str, mode: int, timeout: float) -> None:
        self.files[path] = data, mode

    def get(self, path: str, timeout: float) -> bytes:
        if path not in self.files:
            raise MachineError(f"{path}: No such file")
        return self.files[path][0]

    def run(self, command: str, timeout: float, *, check: bool) -> Any:
        return SimpleNamespace(status=3, stdout=command.encode(), stderr=b"\xff errors")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGuest]:
    monkeypatch.chdir(tmp_path)
    made = FakeGuest()
    made.machine = SimpleNamespace(config=SimpleNamespace(images=SimpleNamespace(features=OURS)))
    # A socket's path is short, and pytest's own need not be.
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with served("one", cast(Guest, made)):
            yield made
        assert list(directory().iterdir()) == []


def test_files_and_commands(guest: FakeGuest, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\0\xff\n" * 1000)
    (tmp_path / "tool").chmod(0o755)
    assert app.main(["cp", "tool", "one:/tmp/"]) == 0
    assert guest.files == {"/tmp/tool": (b"\0\xff\n" * 1000, 0o755)}
    assert app.main(["cp", "one:/tmp/tool", "back"]) == 0
    assert (tmp_path / "back").read_bytes() == b"\0\xff\n" * 1000
    assert Held("one").run("echo 'x y'") == (3, b"echo 'x y'", b"\xff errors")
    with pytest.raises(HeldError, match="No such file"):
        Held("one").get("/nothing")


def test_what_was_cut_off_is_no_file(guest: FakeGuest) -> None:
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(str(next(directory().glob("*.sock"))))
        half.sendall(b'{"what": "put", "path": "/tmp/half", "mode": 420, "size": 100}\nonly this')
        half.shutdown(socket.SHUT_WR)
        half.settimeout(DEADLINE)
        while half.recv(4096):
            pass
    assert guest.files == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cp", "a", "b"], "one of them is NAME:PATH"),
        (["cp", "one:/a", "one:/b"], "one of them is NAME:PATH"),
        (["cp", "nothing", "one:/a"], "cannot read nothing"),
        (["cp", "two:/a", "b"], "no machine is called two (there are one)"),
        (["run", "--in", "one"], "-- COMMAND"),
    ],
)
def test_a_mistake_is_told(
    guest: FakeGuest, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == 2
    assert said in capsys.readouterr().err


def test_a_name_is_one_machine_s_and_a_word(guest: FakeGuest) -> None:
    for name, said in (("one", "already"), ("../x", "no name of a machine")):
        with pytest.raises(UserError, match=said), served(name, cast(Guest, guest)):
            pass
    place = directory()
    place.chmod(0o755)
    with pytest.raises(UserError, match="is not this user's alone"):
        Held("one")
    place.chmod(0o700)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "../x"], "no name of a machine"),
        (["--name", "one"], "a machine one already"),
        (["--name", "two", "--test", "x"], "not with --test"),
        (["--name", "two"], "needs our root image"),
    ],
)
def test_a_shell_s_name_is_looked_at_before_its_guest_boots(
    guest: FakeGuest,
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    system = SimpleNamespace(images=SimpleNamespace(features=()))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("harness.cli.systems.chosen", lambda options: system)
    monkeypatch.setattr("harness.host.programs.check_installed", lambda: None)
    assert app.main(["shell", "--output", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_directory_for_sockets_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place, why in ((tmp_path / "no" / "such", "No such file"), (tmp_path / "file", "Not a")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
        with pytest.raises(UserError, match=rf"cannot be made \({why}.*in XDG_RUNTIME_DIR"):
            directory()


def test_a_path_that_no_socket_takes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    images = SimpleNamespace(features=OURS)
    guest = SimpleNamespace(machine=SimpleNamespace(config=SimpleNamespace(images=images)))
    with (
        pytest.raises(UserError, match="too long for a socket: take a shorter name or XDG"),
        served("one", cast(Guest, guest)),
    ):
        pass
