# SPDX-License-Identifier: MIT
"""The command as a whole: names, help, vocabulary, and the small subcommands."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from harness import __version__
from harness.cli import app
from harness.cli.app import COMMANDS, command
from harness.cli.options import Shard
from harness.cli.test import arguments
from harness.host.project import ROOT
from harness.host.tool import UNCONFINED, unconfined_allowed

CLEAN = "[    0.000000] Linux version 6.1.0\n[    0.100000] Freeing unused kernel memory: 1024K\n"
WARNING = (
    "[    1.000000] ------------[ cut here ]------------\n"
    "[    1.000100] WARNING: CPU: 0 PID: 1 at mm/cma.c:500 cma_alloc+0x10/0x20\n"
    "[    1.000200] ---[ end trace 0000000000000000 ]---\n"
)


def subcommands() -> list[tuple[str, click.Command]]:
    context = click.Context(command)
    found = [(name, command.get_command(context, name)) for name in COMMANDS]
    assert all(value is not None for _, value in found)
    return [(name, value) for name, value in found if value is not None]


@pytest.mark.parametrize(("name", "found"), subcommands())
def test_every_subcommand_has_help_and_explains_each_option(
    name: str, found: click.Command
) -> None:
    assert found.help
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]}"


def leaves(found: click.Command) -> list[click.Command]:
    """The command, or those of a group."""
    if not isinstance(found, click.Group):
        return [found]
    context = click.Context(found)
    inner = [found.get_command(context, name) for name in found.list_commands(context)]
    return [leaf for one in inner if one is not None for leaf in leaves(one)]


@pytest.mark.parametrize(("name", "found"), subcommands())
def test_every_command_can_be_quiet(name: str, found: click.Command) -> None:
    if name in ("test", "completion"):  # pytest has its own; nothing else is printed
        return
    for leaf in leaves(found):
        assert any("--quiet" in parameter.opts for parameter in leaf.params), f"{name} {leaf.name}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "1" + 30 * "0", 5000 * "9"])
def test_no_number_is_without_an_end(value: str) -> None:
    numbers = (click.types.IntParamType, click.types.FloatParamType)
    kinds: list[click.ParamType[Any]] = [
        p.type for _, found in subcommands() for leaf in leaves(found) for p in leaf.params
    ]
    asked: list[Any] = [kind for kind in kinds if isinstance(kind, (*numbers, Shard))]
    assert len(asked) > 10
    for kind in asked:
        for text in (value, f"1/{value}"):
            with pytest.raises(click.BadParameter):
                kind.convert(text, None, None)


def test_one_word_means_one_thing() -> None:
    meanings: dict[str, set[tuple[str, ...]]] = {}
    for _, found in subcommands():
        for parameter in found.params:
            if isinstance(parameter, click.Option):
                kind = (type(parameter.type).__name__, str(parameter.is_flag))
                for spelling in parameter.opts:
                    meanings.setdefault(spelling, set()).add(kind)
    for word in ("--kernel", "--output", "--jobs", "--json", "--area", "--debug"):
        assert len(meanings[word]) == 1, word


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gaet"], "Did you mean gate?"),
        (["run", "--biscutos", "x"], "Did you mean"),
        (["nightly", "merge"], "Missing argument"),
        (["gate", "--whole", "--select", "x", "y.patch"], "--whole and --select"),
        (["gate", "--whole", "--test", "x", "y.patch"], "--whole and --select, or --test"),
        (["gate", "--queue", "d", "--test", "x"], "--test goes with patches"),
        (["explore", "--replay", "f", "--jobs", "2"], "--jobs goes without --replay"),
        (["explore", "--replay", "f", "--cluster", "local:1"], "--cluster goes without --replay"),
        (["gate", "--queue", "d", "--warm"], "--warm goes without --queue"),
        (["run", "--kernel", "6.1", "--kernel", "6.12"], "more than once"),
        (["run", "--kernel", "/no/such/tree"], "neither a version"),
    ],
)
def test_a_mistake_is_told_with_the_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.startswith("Usage: harness")


def test_the_usage_shows_the_script_that_was_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(app.PROGRAM, "../scripts/gate")
    assert app.main(["gate", "--nonsense"]) == 2
    assert capsys.readouterr().err.startswith("Usage: ../scripts/gate [OPTIONS]")


def test_version_help_and_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"harness, version {__version__}\n"
    assert app.main(["--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ["parse-log"])
    assert app.main(["completion", "bash"]) == 0
    assert "_HARNESS_COMPLETE=bash_complete" in capsys.readouterr().out


def test_the_shell_completes_names_of_commands() -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        app.COMPLETE: "bash_complete",
        "COMP_WORDS": "harness par",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "harness"], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "plain,parse-log\n"


class TestParseLog:
    def test_a_log_without_trouble(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "log").write_text(CLEAN)
        assert app.main(["parse-log", str(tmp_path / "log")]) == 0
        assert "no trouble" in capsys.readouterr().out

    def test_a_log_with_trouble(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "log").write_text(CLEAN + WARNING)
        assert app.main(["parse-log", "--json", str(tmp_path / "log")]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["trouble"] is True
        assert found["findings"][0]["line"] == 3

    @pytest.mark.parametrize("content", [None, b""])
    def test_what_is_no_log(
        self, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if content is not None:
            (tmp_path / "log").write_bytes(content)
        assert app.main(["parse-log", str(tmp_path / "log")]) == 2
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "own"),
    [
        ([], True),
        (["-k", "x"], True),
        (["-n", "4"], False),
        (["-n4"], False),
        (["--numprocesses=1"], False),
        (["--qemu-shell"], False),
        (["--pdb"], False),
    ],
)
def test_pytest_uses_all_cores_unless_it_is_told_otherwise(words: list[str], own: bool) -> None:
    found = arguments(words)
    assert found[-len(words) :] == words if words else True
    assert ("-n" in found[: len(found) - len(words)]) is own
    assert "--qemu" in found


NEITHER = ("init", "cp", "test", "coverage", "cache", "parse-log", "completion")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NEITHER])
def test_whoever_starts_qemu_or_builds_takes_consent_to_no_confinement(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict(subcommands())[name]
    if isinstance(found, click.Group):
        found = found.commands.get("run") or found.commands["worker"]
    monkeypatch.setenv(UNCONFINED, "")
    assert not unconfined_allowed()
    with contextlib.suppress(click.UsageError):
        found.make_context(name, ["--unconfined"])
    assert unconfined_allowed()


def test_the_suite_takes_it_too() -> None:
    assert "--qemu-unconfined" in arguments(["--unconfined", "tests/cma"])
