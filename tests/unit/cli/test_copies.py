# SPDX-License-Identifier: MIT
"""``--put`` and ``--get``: what they take, and what is said before a guest is there."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from harness.cli.copies import copies
from harness.errors import UserError


def test_both_are_taken_from_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").write_text("")
    (tmp_path / "made").mkdir()
    found = copies(["a:b:/tmp/", "a:b:/x"], ["/var/log:log", "/tmp/out:made"], True)
    assert found.puts == ((tmp_path / "a:b", "/tmp/a:b"), (tmp_path / "a:b", "/x"))
    assert found.gets == (("/var/log", tmp_path / "log"), ("/tmp/out", tmp_path / "made" / "out"))


@pytest.mark.parametrize(
    ("puts", "gets", "said"),
    [
        (["nothing:/tmp/x"], [], "there is no file"),
        (["here:tmp/x"], [], "begins with /"),
        (["here"], [], "expected FILE:PATH"),
        ([":/x"], [], "expected FILE:PATH"),
        ([], ["/tmp/x"], "expected PATH:FILE"),
        ([], ["tmp/x:y"], "begins with /"),
        ([], ["/tmp/:y"], "expected PATH:FILE"),
        ([], ["/x:no/such/y"], "there is no directory"),
    ],
)
def test_a_mistake_is_told(
    puts: list[str],
    gets: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("")
    with pytest.raises(UserError, match=said):
        copies(puts, gets, True)


def test_without_a_command_there_is_nothing_to_copy_for() -> None:
    with pytest.raises(click.UsageError, match="-- COMMAND"):
        copies([], ["/x:y"], False)
    assert copies([], [], False).puts == ()
