# SPDX-License-Identifier: MIT
"""``harness.toml``: what it may say, who reads it, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from harness.cli import app, settings
from harness.cli.app import COMMANDS, command
from harness.cli.test import arguments
from harness.errors import UserError

WHOLE = """\
kernel = "6.12"
config = ["a.config"]
area = "mine"
memory = 256
jobs = 3
output = "out"
select = "tests.txt"

[run]
timeout = 60
memory = 128

[gate]
whole = true
boot-limit = 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    return tmp_path


def write(place: Path, text: str) -> None:
    (place / "harness.toml").write_text(text)


def taken(name: str, *words: str) -> dict[str, object]:
    """What a command's function would be called with."""
    found = command.get_command(click.Context(command), name)
    assert found is not None
    mapped = app._settings(command, [name, *words])[name]
    with found.make_context(name, list(words), default_map=mapped) as context:
        return context.params


def test_every_command_takes_what_it_has_an_option_for(place: Path) -> None:
    write(place, WHOLE)
    run = taken("run")
    assert (run["kernel"], run["area"], run["memory"]) == ("6.12", "mine", 128)
    assert run["config"] == (place / "a.config",)
    assert (run["timeout"], run["output"]) == (60.0, place / "out" / "run")
    gate = taken("gate", "x.patch")
    assert (gate["kernel"], gate["jobs"], gate["whole"]) == ("6.12", 3, True)
    assert (gate["boot_limit"], gate["select"]) == (2.0, place / "tests.txt")
    assert taken("build")["kernel"] == "6.12"


def test_what_is_typed_wins(place: Path) -> None:
    write(place, WHOLE)
    run = taken("run", "--kernel", "6.1", "--memory", "512", "--area", "other")
    assert (run["kernel"], run["memory"], run["area"]) == ("6.1", 512, "other")
    tree = taken("run", "--biscuitos", str(place))
    assert (tree["kernel"], tree["config"], tree["area"]) == (None, (), "mine")


def test_the_words_of_a_guest_s_command_are_not_the_harness_s(place: Path) -> None:
    write(place, WHOLE)
    plain = app._settings(command, ["run"])
    assert plain["run"]["kernel"] == ["6.12"]
    for words in (["--", "df", "-h"], ["--", "mount", "--biscuitos"]):
        assert app._settings(command, ["run", *words]) == plain
    assert not app._settings(command, ["run", "-h", "--", "ls"])


def test_pytest_is_told_too(place: Path) -> None:
    write(place, WHOLE.replace('config = ["a.config"]\n', ""))
    words = arguments(["-k", "x"])
    assert "--qemu-kernel-version=6.12" in words
    assert "--qemu-memory=256" in words
    assert f"--qemu-artifacts={place / 'out' / 'test'}" in words
    assert words[words.index("-n") + 1] == "3"
    write(place, 'kernel = "linux"\n')
    (place / "linux").mkdir()
    assert f"--qemu-kernel-source={place / 'linux'}" in arguments([])


def test_without_a_file_nothing_is_set(place: Path) -> None:
    assert app._settings(command, ["run"]) in ({}, {"run": {}})


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('area = "x"\nkernl = "6.1"\n', 2, "unknown key kernl; did you mean kernel?"),
        ('area = "x"\n\n[gate]\nwhole = true\nboot_limit = 2\n', 5, "did you mean boot-limit?"),
        ("[gaet]\nwhole = true\n", 1, "unknown key gaet; did you mean gate?"),
        ("[run]\nwhole = true\n", 2, "unknown key whole"),
        ("# a comment\nmemory = 4096\n", 2, "memory: "),
        ('jobs = "many"\n', 1, "jobs: "),
        ("run.jobs = 0\n", 1, "run.jobs: "),
        ('config = "a"\n', 1, "config: "),
        ('kernel = "6.1"\narea = \n', 2, ""),
        ('kernel = "6.1\n', 1, ""),
        ("[gate]\nboot-limit = inf\n", 2, "finite number"),
        ("jobs = 10000000\n", 1, "jobs: "),
        ("zzz = 1\n", 1, "known are kernel, config"),
    ],
)
def test_a_mistake_is_told_with_its_line(place: Path, text: str, line: int, said: str) -> None:
    write(place, text)
    with pytest.raises(UserError) as error:
        settings.read(place / "harness.toml")
    assert str(error.value).startswith(f"{place / 'harness.toml'}:{line}: ")
    assert said in str(error.value)


def test_a_number_of_thousands_of_digits_is_told(place: Path) -> None:
    write(place, f"jobs = {5000 * '9'}\n")
    with pytest.raises(UserError, match=r"harness.toml: "):
        settings.read(place / "harness.toml")


def test_a_night_s_table_is_for_its_commands(place: Path) -> None:
    write(place, 'output = "out"\n\n[nightly]\njobs = 3\n')
    found = command.get_command(click.Context(command), "nightly")
    assert isinstance(found, click.Group)
    mapped = app._settings(command, ["nightly", "report"])["nightly"]
    given = {"run": ["--list"], "report": [], "merge": ["a", "-o", "b"]}
    with found.make_context("nightly", ["run"], default_map=mapped) as context:
        seen = {
            name: found.commands[name].make_context(name, words, parent=context).params
            for name, words in given.items()
        }
    assert seen["run"]["jobs"] == 3
    assert seen["report"]["output"] is None


@pytest.mark.parametrize(
    ("name", "key", "taken"),
    [
        ("nightly", 'area = "x"', "it takes jobs"),
        ("nightly", 'output = "x"', "it takes jobs"),
        ("mutants", 'dts = "x"', "it takes jobs, kernel, output"),
        ("test", "timeout = 7", "it takes app, append, area"),
        ("run", "jobs = 3", "it takes app, append, area"),
    ],
)
def test_what_a_command_has_no_option_for_is_told_with_its_line(
    place: Path, name: str, key: str, taken: str
) -> None:
    write(place, f"jobs = 2\n\n[{name}]\n{key}\n")
    with pytest.raises(UserError, match=rf":4: {name} has no option for \w+; {taken}"):
        settings.given([], name, place)


def test_a_directory_of_that_name_is_no_file(place: Path) -> None:
    (place / "sub" / "harness.toml").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*/sub/harness.toml: Is a directory"):
        settings.given([], "run", Path.cwd())


def test_a_mistake_ends_any_command_with_2_and_no_help(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, "memory = 1\n")
    assert app.main(["run"]) == 2
    assert "harness.toml:1: memory" in capsys.readouterr().err
    assert app.main(["run", "--help"]) == 0


def test_each_table_is_a_command_and_each_key_an_option_of_some() -> None:
    tables = set(settings.Settings.model_fields) - set(settings.Common.model_fields)
    assert tables <= set(COMMANDS)
    options = set()
    for name in COMMANDS:
        found = command.get_command(click.Context(command), name)
        assert found is not None
        options |= {parameter.name for parameter in found.params}
    assert set(settings.Gate.model_fields) - {"dts"} <= options
