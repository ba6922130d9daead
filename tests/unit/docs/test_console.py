# SPDX-License-Identifier: MIT
"""How console blocks of the docs are read, run and compared; and that every command is in one."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from harness.cli.app import COMMANDS, command
from harness.host.project import ROOT
from harness.pytest_plugin import options
from tests.qemu.docs import console

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = r"(?:\./scripts/|harness |pytest )"
"""How a command of this project begins."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_a_command_may_have_several_lines() -> None:
    block = "$ cat >x <<'END'\n$ not a command\nEND\n$ ls \\\n    -l\nx\n...\n"
    assert list(console.steps(block)) == [
        console.Step("cat >x <<'END'\n$ not a command\nEND", ()),
        console.Step("ls \\\n    -l", ("x", "...")),
    ]
    with pytest.raises(ValueError, match="begins with 'ls'"):
        list(console.steps("ls\n$ ls\n"))


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("took 5.5 s", "took 12 s", True),
        ("= 1 failed in 6.38s =", "== 1 failed in 16.1s ===", False),
        ("=== 1 failed in 6.38s =====", "==== 1 failed in 16.1s ====", True),
        ("took 5 MiB", "took 6 MiB", False),
        ("Linux 6.1.192, built", "Linux 6.1.195, built", True),
        ("Linux 6.1.192", "Linux 6.12.192", False),
        ("[    0.100000] x", "[    2.000000] x", True),
        ("0x69800000-0x69ffffff", "0x69800000-0x698fffff", False),
        (
            "0x60900000-0x609bda07  758.5 KiB  ├ Kernel data",
            "0x60900000-0x609bd987  758.4 KiB  ├ Kernel data",
            True,
        ),
        ("a\nb", "booting ...\na\nb", True),
        ("a\nb", "a\nsuite of the base ...\nb", True),
        ("a\n...\nb", "a\nb", True),
        ("a\n...\nb", "a\n1\n2\nb", True),
        ("a\n...\nb", "a\n1\nc", False),
        ("...\nb", "1\nb", True),
        ("...", "", True),
        ("", "x", False),
        ("a … c (d)", "a b b c (d)", True),
    ],
)
def test_what_is_the_same(shown: str, printed: str, same: bool) -> None:
    assert console.same(shown, printed) is same


def test_one_command_leaves_its_place_variables_and_status_to_the_next(tmp_path: Path) -> None:
    terminal = console.Console(tmp_path, os.environ)
    assert terminal.run("mkdir a; cd a; export X='one \"two\"'; false") == ""
    assert terminal.run("echo $? $X; basename $PWD; echo said >&2") == '1 one "two"\na\nsaid\n'


def test_a_block_that_shows_something_else_is_told_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```console\n$ echo one\none\n```\n\n"
        '<!-- skip: next "takes a day" -->\n\n```console\n$ sleep 86400\n```\n\n'
        "```console\n$ echo two\nthree\n```\n"
    )
    document = console.parse(page)
    terminal = console.Console(tmp_path, os.environ)
    document.namespace["evaluate"] = lambda example: console.check(terminal, example)
    said = []
    for example in document.examples():
        try:
            example.evaluate()
        except Exception as error:
            said.append(str(error))
    assert said[0] == "takes a day"
    assert re.search(r"page.md:14: \$ echo two\n--- shown\n(.*\n)+-three\n\+two", said[1])


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of a page's fenced blocks."""
    return re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(), re.MULTILINE)


def called(page: Path) -> list[list[str]]:
    """The commands of this project in a page, as words: in console blocks, and in ``sh`` blocks,
    which show forms of a command.
    """
    lines = [line for language, text in blocks(page) if language == "sh" for line in joined(text)]
    for example in console.parse(page).examples():
        if isinstance(example.parsed, str):
            lines += [
                line
                for step in console.steps(str(example.parsed))
                for line in joined(step.command)[:1]
            ]
    words = [shlex.split(line, comments=True) for line in lines if re.match(OURS, line)]
    return [found[: found.index("|")] if "|" in found else found for found in words]


def joined(text: str) -> list[str]:
    return re.sub(r"\\\n\s*", " ", text).splitlines()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_shows_is_in_a_console_block_or_a_form(page: Path) -> None:
    for language, text in blocks(page):
        if language not in ("console", "sh", "text", "yaml", "groovy"):
            assert not re.findall(rf"(?m)^(?:\$ |{OURS}).*", text), (
                f"{page}, a block of {language!r}"
            )
        if language == "sh":
            assert not re.search(r"(?m)^\$ ", text), "what is typed and printed is a console block"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        pytest.param(page, words, id=f"{name_of(page)}: {' '.join(words)[:60]}")
        for page in PAGES
        for words in called(page)
    ],
)
def test_every_option_that_a_page_shows_is_there(page: Path, words: list[str]) -> None:
    program, *rest = words
    if program == "pytest":
        known = {f"--qemu-{option.name}" for option in (*options.VALUES, *options.FLAGS)}
        known |= {"--qemu", "--qemu-ktap", "--ktap"}
        used = {word.partition("=")[0] for word in rest if word.startswith(("--qemu", "--ktap"))}
        assert used <= known
        return
    if program != "harness":
        rest = [program.rpartition("/")[2], *rest]
    name, *rest = [*rest[1:], ""][:-1] if rest[0] == "harness" else rest
    if name not in COMMANDS:
        assert name in ("gaet", "check", "matrix", "docs", "--version"), words
        return
    found = command.get_command(click.Context(command), name)
    assert found is not None
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        inner = found.get_command(click.Context(found), rest[0])
        if inner is None:
            break
        found, rest = inner, rest[1:]
    # Raises for an option that is not there; values are not looked at.
    found.make_context(name, rest, resilient_parsing=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_can_be_read(page: Path) -> None:
    for example in console.parse(page).examples():
        if isinstance(example.parsed, str):
            assert list(console.steps(str(example.parsed)))


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    skips = [
        example.parsed
        for page in PAGES
        for example in console.parse(page).examples()
        if isinstance(example.parsed, tuple)
    ]
    assert len(skips) <= 6
    assert all(action == "next" and re.fullmatch(r'"\w.{20,}"', why or "") for action, why in skips)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_that_a_page_shows_is_yaml(page: Path) -> None:
    for language, text in blocks(page):
        if language == "yaml":
            assert isinstance(pytest.importorskip("yaml").safe_load(text), dict)
