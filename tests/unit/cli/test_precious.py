# SPDX-License-Identifier: MIT
"""A directory of the user's given to every option that takes a path: nothing in it is lost.

The options are asked of click and of pytest, so that a new one is tried by itself.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli.app import command as PROGRAM
from harness.cli.app import main
from harness.cli.options import OUTPUT, Kernel, UserPath
from harness.errors import UserError
from tests.unit.precious import assert_nothing_is_lost, fill

PATCH = """\
Subject: [PATCH] mm: say more

--- a/mm/cma.c
+++ b/mm/cma.c
@@ -1,1 +1,1 @@
-one
+two
"""
EARLY = ("run", "shell", "gate", "mutants", "explore")
"""Commands that say so before they build or boot anything."""


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    return fill(tmp_path / "mine")


def commands(
    group: click.Group, context: click.Context, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands that are no groups, with the words that call them."""
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, context, (*words, name))
        else:
            yield (*words, name), found


def takes_path(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, UserPath | Kernel)


def cases() -> list[Any]:
    found = []
    with click.Context(PROGRAM) as context:
        for words, command in commands(PROGRAM, context):
            for parameter in filter(takes_path, command.params):
                name = parameter.opts[0]
                found.append(
                    pytest.param(words, command, parameter, id=f"{' '.join(words)} {name}")
                )
    return found


CASES = cases()


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Builds, boots and other processes end the command, as bad input does."""

    def refuse(*words: object, **named: object) -> None:
        raise UserError("nothing is built in this test")

    for name in (
        "builders.imageset.build_image_set",
        "builders.imageset.build_unpatched",
        "builders.kernel_source.resolve",
        "builders.apt.PrivateApt",
        "builders.kept_trees.open_patch_tree",
        "cli.mutants.open_patch_tree",
        "cli.bench.measure",
        "machine.machine.Machine.start",
        "testrun.suite.Suite.run",
    ):
        monkeypatch.setattr(f"harness.{name}", refuse)
    monkeypatch.setattr("harness.cli.nightly.read_matrix", lambda path: [])
    monkeypatch.setattr("harness.mutants.patchfile._touched", lambda *words: ("mm/cma.c",))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    # The tests' own directory may be below the artifacts, where all is ours.
    monkeypatch.setattr("harness.host.output.ARTIFACTS", Path("/nowhere"))
    monkeypatch.setattr("sys.stdin", Terminal())


class Terminal(io.StringIO):
    """Standard input of somebody who sits there."""

    buffer = io.BytesIO()

    def isatty(self) -> bool:
        return True


def arguments(
    command: click.Command, parameter: click.Parameter, path: Path, other: Path
) -> list[str]:
    """Words with `path` for one parameter, and something for each that must be there."""
    words: list[str] = []
    for needed in command.params:
        if needed is not parameter and not needed.required:
            continue
        value = str(path if needed is parameter else other if takes_path(needed) else "x")
        words += [value] if isinstance(needed, click.Argument) else [needed.opts[0], value]
    return words


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize("kind", ["directory", "file"])
@pytest.mark.parametrize(("words", "command", "parameter"), CASES)
def test_nothing_of_the_user_s_is_lost(
    words: tuple[str, ...],
    command: click.Command,
    parameter: click.Parameter,
    kind: str,
    precious: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = precious if kind == "directory" else precious / "notes.txt"
    other = tmp_path / "other"
    other.write_text(PATCH)
    more = [str(other)] if words == ("gate",) else []
    status = main([*words, *arguments(command, parameter, path, other), *more])
    assert_nothing_is_lost(precious)
    if parameter.name == "output" and words[0] in EARLY and kind == "directory":
        assert status == 2
        assert "holds files that are not this harness's" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "command", "parameter"), CASES)
def test_what_no_command_can_take_is_said_at_once(
    words: tuple[str, ...], command: click.Command, parameter: click.Parameter, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    bad = ["a\nb", "n" * 300]
    if parameter.type is not OUTPUT:
        bad.append("pipe")
    with click.Context(command) as context:
        for name in bad:
            with pytest.raises(UserError):
                parameter.type.convert(str(tmp_path / name), parameter, context)
