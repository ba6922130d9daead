# SPDX-License-Identifier: MIT
"""Damage is found: what changed size or time at once, everything by its contents."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.host.integrity import SEAL, damage, digest, parse, read_seal, same, seal

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "kernel").write_bytes(os.urandom(10_000))
    (tmp_path / "sub" / "empty").touch()
    (tmp_path / "link").symlink_to("/etc/hostname")
    with (tmp_path / "ram").open("wb") as file:  # sparse
        file.seek(5 * MIB + 17)
        file.write(os.urandom(9000))
        file.truncate(64 * MIB)
    seal(tmp_path)
    return tmp_path


def found(place: Path, wholly: bool = False) -> list[str]:
    known = read_seal(place)
    assert known is not None
    return damage(place, known, wholly)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_what_was_not_touched_is_sound(place: Path) -> None:
    known = read_seal(place)
    assert known is not None
    assert sorted(known) == ["kernel", "ram", "sub/empty"]
    assert found(place) == found(place, wholly=True) == []


@pytest.mark.parametrize("at", [0, 5 * MIB, 5 * MIB + 17, 5 * MIB + 9000, 64 * MIB - 1])
def test_one_flipped_bit_is_found_wherever_it_is(place: Path, at: int) -> None:
    flip(place / "ram", at)
    assert found(place) == ["ram"]


def test_a_flip_that_leaves_no_trace_in_the_time_is_found_by_the_contents(place: Path) -> None:
    info = (place / "kernel").stat()
    flip(place / "kernel", 5000)
    os.utime(place / "kernel", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert found(place) == []
    assert found(place, wholly=True) == ["kernel"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 9_999),
        lambda path: os.truncate(path, 0),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x"),
    ],
)
def test_what_was_cut_is_found_at_once(place: Path, change: Callable[[Path], None]) -> None:
    change(place / "kernel")
    assert found(place) == ["kernel"]


def test_what_became_a_link_or_a_directory_is_found(place: Path) -> None:
    (place / "kernel").unlink()
    (place / "kernel").symlink_to("ram")
    (place / "sub" / "empty").unlink()
    (place / "sub" / "empty").mkdir()
    assert found(place) == ["kernel", "sub/empty"]


def test_another_time_alone_is_no_damage(place: Path) -> None:
    for name in ("kernel", "ram"):
        os.utime(place / name, (1, 1))
    assert found(place) == []


def test_a_copy_without_holes_is_the_same(place: Path) -> None:
    """What a copy of the cache makes of a file with holes."""
    known = digest(place / "ram")
    data = (place / "ram").read_bytes()
    (place / "copy").write_bytes(data)
    assert same(place / "copy", known)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [1, "x", "d"]}', "null"])
def test_a_record_that_cannot_be_read_is_none(place: Path, text: str) -> None:
    (place / SEAL).write_text(text)
    assert read_seal(place) is None


def test_a_record_is_plain_json(place: Path) -> None:
    assert parse(json.loads((place / SEAL).read_text())[0]) == read_seal(place)


def test_a_record_of_an_older_cache_has_no_sum(place: Path) -> None:
    known = json.loads((place / SEAL).read_text())[0]
    (place / SEAL).write_text(json.dumps(known))
    assert read_seal(place) == parse(known)


def test_whatever_bit_of_a_record_is_changed_it_is_noticed(place: Path) -> None:
    whole = (place / SEAL).read_bytes()
    good = read_seal(place)
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (place / SEAL).write_bytes(changed)
        assert read_seal(place) in (None, good), f"bit {bit}"
