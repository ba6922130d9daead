# SPDX-License-Identifier: MIT
"""Paths that no command can take, told in one line before anything is done."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.host.userpath import usable


def pipe(place: Path) -> Path:
    os.mkfifo(place / "pipe")
    return place / "pipe"


def loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


def listening(place: Path) -> Path:
    os.chdir(place)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    return place / "socket"


def below_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file" / "x"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "/pipe is a named pipe: name a file"),
        (loop, "Too many levels of symbolic links"),
        (listening, "/socket is a socket: name a file"),
        (below_a_file, "a part of that path is no directory"),
        (lambda place: place / ("n" * 300), "File name too long"),
        (lambda place: place / "a\nPASS", "has a control character in it"),
        (lambda place: place / "a\x1b[31mb", "has a control character in it"),
        (lambda place: place / "a\u202eb", r"u202eb.* has a control character in it"),
    ],
)
def test_it_is_said_in_one_line(
    make: Callable[[Path], Path], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        usable(make(tmp_path))
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1000


@pytest.mark.parametrize("name", [".", "missing/x", "gr\xfc\xdf e,x", "\u6587\u4ef6"])
def test_all_else_is_for_the_command_to_judge(name: str, tmp_path: Path) -> None:
    assert usable(tmp_path / name) == tmp_path / name


def test_a_link_to_nothing_and_what_the_shell_opens_are_taken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere/at/all")
    assert usable(tmp_path / "link") == tmp_path / "link"
    assert usable(pipe(tmp_path), pipe=True) == tmp_path / "pipe"
    ends = os.pipe()
    try:
        given = Path(f"/dev/fd/{ends[0]}")  # <(command)
        assert usable(given) == given
    finally:
        for end in ends:
            os.close(end)
