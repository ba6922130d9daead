# SPDX-License-Identifier: MIT
"""What QEMU is given: descriptors and names, whoever it runs as."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.machine.given import Given

OTHER = 61183


@pytest.fixture
def given() -> Iterator[Given]:
    one = Given(None)
    yield one
    one.close()


def test_a_file_is_read_by_its_name(given: Given, tmp_path: Path) -> None:
    (tmp_path / "a, b").write_text("kernel")
    name = given.file(tmp_path / "a, b")
    assert re.fullmatch(r"/proc/self/fd/\d+", name)
    assert Path(name).read_text() == "kernel"


def test_what_another_may_not_read_is_given_as_a_copy(tmp_path: Path) -> None:
    given = Given(OTHER)
    for mode in (0o644, 0o600):
        path = tmp_path / f"{mode:o}"
        path.write_text("kernel")
        path.chmod(mode)
        name = Path(given.file(path))
        assert name.read_text() == "kernel"
        assert name.stat().st_mode & 0o004
        assert (name.stat().st_ino == path.stat().st_ino) == (mode == 0o644)
    given.close()


@pytest.mark.parametrize("what", ["disk", "file"])
def test_what_is_not_there_is_said(given: Given, tmp_path: Path, what: str) -> None:
    with pytest.raises(UserError, match=r"cannot open .*/absent: No such file"):
        getattr(given, what)(tmp_path / "absent")


def test_ram_that_stays_is_a_new_file_of_that_size(given: Given, tmp_path: Path) -> None:
    name = given.shared_ram(tmp_path / "ram", 1 << 20)
    Path(name).open("r+b").close()
    assert (tmp_path / "ram").stat().st_size == 1 << 20
    with pytest.raises(UserError, match="File exists"):
        given.shared_ram(tmp_path / "ram", 1 << 20)


@pytest.mark.parametrize("only_read", [True, False])
def test_nobody_can_write_a_template_s_ram(given: Given, tmp_path: Path, only_read: bool) -> None:
    path = tmp_path / "ram"
    path.write_bytes(b"ram")
    name = given.private_ram(path, only_read)
    descriptor = int(name.rpartition("/")[2])
    assert os.pread(descriptor, 10, 0) == b"ram"
    with pytest.raises(OSError):  # EBADF or EPERM
        os.write(descriptor, b"x")
    if not only_read:
        again = os.open(name, os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(again, b"x")
        os.close(again)


def test_a_disk_has_a_descriptor_for_each_right(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"disk")
    assert given.disk(path) == "/dev/fdset/1"
    assert given.disk(path, writable=True) == "/dev/fdset/2"
    sets = re.findall(r"fd=(\d+),set=(\d)", " ".join(given.arguments))
    assert [number for _, number in sets] == ["1", "2", "2"]
    rights = [fcntl.fcntl(int(fd), fcntl.F_GETFL) & os.O_ACCMODE for fd, _ in sets]
    assert rights == [os.O_RDONLY, os.O_RDONLY, os.O_RDWR]


def test_an_overlay_has_no_name_on_the_host(given: Given) -> None:
    given.fresh_overlay(1 << 20)
    (descriptor, *_) = re.findall(r"fd=(\d+)", " ".join(given.arguments))
    assert os.fstat(int(descriptor)).st_nlink == 0
    assert os.pread(int(descriptor), 4, 0) == b"QFI\xfb"


def test_all_is_closed_at_the_end(tmp_path: Path) -> None:
    given = Given(None)
    (tmp_path / "x").write_bytes(b"x")
    given.file(tmp_path / "x")
    given.disk(tmp_path / "x")
    given.fresh_overlay(512)
    given.close()
    for descriptor in given.descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
