# SPDX-License-Identifier: MIT
"""Paths that no command can take, told in one line before anything is done."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.builders.cache import cache_root
from harness.cli import app
from harness.errors import UserError
from harness.host import confine
from harness.host.userpath import expanded, usable


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


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no entry in its passwd."""

    def nobody(_uid: int) -> object:
        raise KeyError

    for name in ("HOME", "HARNESS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_it_is_asked_for_where_it_is_needed() -> None:
    with pytest.raises(UserError, match=r"^~/x: no home is known: set HOME"):
        expanded("~/x")
    with pytest.raises(UserError, match="no home is known for the cache: set HOME, or HARNESS_"):
        cache_root()
    assert confine._home() == []
    assert expanded("/x") == Path("/x")


def test_a_home_that_is_the_root_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert confine._home() == []


@pytest.mark.parametrize(
    "words", ["parse-log ~nobody-here/x", "gate ~nobody-here/x", "run --kernel ~nobody-here/x"]
)
def test_a_user_that_there_is_not(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(words.split()) == 2
    assert capsys.readouterr().err.startswith("error: ~nobody-here/x: there is no user nobody-here")
