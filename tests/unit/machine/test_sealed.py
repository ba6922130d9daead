# SPDX-License-Identifier: MIT
"""Copies in memory that nobody can change."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine import sealed

SIZE = 1 << 20


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    while sealed._kept:
        os.close(sealed._kept.popitem()[1])


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 2)
        file.write(b"here")
    return path


def test_the_copy_is_the_file_and_its_holes_are_holes(tmp_path: Path) -> None:
    path = sparse(tmp_path / "ram")
    copy = sealed.sealed(path)
    assert os.pread(copy, 2 * SIZE, 0) == path.read_bytes()
    assert os.fstat(copy).st_blocks * 512 < SIZE // 4
    os.close(copy)


def test_nobody_can_write_it_and_it_can_be_mapped_privately(tmp_path: Path) -> None:
    copy = sealed.sealed(sparse(tmp_path / "ram"))
    again = os.open(f"/proc/self/fd/{copy}", os.O_RDWR)
    for attempt in (lambda: os.write(again, b"x"), lambda: os.truncate(again, 0)):
        with pytest.raises(PermissionError):
            attempt()
    with pytest.raises(PermissionError):
        mmap.mmap(again, SIZE)
    with mmap.mmap(again, SIZE, flags=mmap.MAP_PRIVATE) as memory:
        memory[:4] = b"mine"
    assert os.pread(copy, 4, 0) == bytes(4)
    os.close(again)
    os.close(copy)


def test_there_is_one_copy_for_each_state_of_a_file(tmp_path: Path) -> None:
    path = sparse(tmp_path / "ram")
    inodes = set()
    for _ in range(2):
        copy = sealed.sealed(path)
        inodes.add(os.fstat(copy).st_ino)
        os.close(copy)
    assert len(inodes) == 1
    sparse(tmp_path / "new").rename(path)
    copy = sealed.sealed(path)
    assert os.fstat(copy).st_ino not in inodes
    os.close(copy)


def test_no_more_than_some_are_kept(tmp_path: Path) -> None:
    for number in range(sealed.KEPT + 2):
        os.close(sealed.sealed(sparse(tmp_path / str(number))))
    assert len(sealed._kept) == sealed.KEPT


def test_bytes_become_a_file_that_nobody_can_write() -> None:
    copy = sealed.sealed_bytes(b"kernel")
    assert os.pread(copy, 100, 0) == b"kernel"
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    os.close(copy)
