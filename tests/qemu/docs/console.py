# SPDX-License-Identifier: MIT
"""Console blocks of pages: commands after ``$ ``, and below each what it prints.

    ```console
    $ harness parse-log console.txt
    no trouble in 124 lines
    ```

Sybil finds the blocks, and leaves out the one after ``<!-- skip: next "reason" -->``. A command is
run as it stands, in the page's own directory; what it prints, standard error included, is compared
with what is shown, after `RULES`. In what is shown, a line ``...`` stands for any lines, and ``…``
for any text within a line. A line that ends in a backslash goes on; so does a here-document.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sybil import Document, Example, Sybil
from sybil.parsers.myst import CodeBlockParser, SkipParser
from sybil.typing import Parser

PROMPT = "$ "
SECONDS = 1500
"""The time that one command may take: a gate may have to wait for another's tree."""
RULES = (
    # Terminals' colours.
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    # The kernel's clock, and its last number: a distribution's newest.
    (re.compile(r"\[ *\d+\.\d{6}\]"), "[STAMP]"),
    (re.compile(r"\b(\d+\.\d+)\.\d+(?=[\s),/:-]|$)"), r"\1.N"),
    # What is said of a wait, where it is long.
    (re.compile(r"^\w[\w -]* \.\.\.\n", re.MULTILINE), ""),
    # Times.
    (re.compile(r"\b\d+(\.\d+)?( (?:s|ms|us|seconds)|s)\b"), r"TIME"),
    (re.compile(r"={3,}"), "==="),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\S*)?"), "DATE"),
    # Digests, and commits.
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b"), "DIGEST"),
    # Where a kernel's own code and data end is the compiler's affair.
    (
        re.compile(r"0x6[0-8]\w{6}-0x6[0-8]\w{6} +[\d.]+ [KM]iB( +[├│└] (?:Kernel|other))"),
        r"0xADDRESS-0xADDRESS SIZE\1",
    ),
)
"""What may differ from one run to the next, and what stands for it in the comparison."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One command and what is shown below it."""

    command: str
    shown: tuple[str, ...]


def parse(page: Path) -> Document:
    """A page's blocks; the namespace's ``evaluate`` gets each (`Example.parsed` is its text)."""
    parsers: list[Parser] = [
        SkipParser(),
        CodeBlockParser("console", lambda e: e.namespace["evaluate"](e)),
    ]
    return Sybil(parsers).parse(page)


def steps(block: str) -> Iterator[Step]:
    """The commands of a block. Raises `ValueError` where it does not begin with one."""
    command: list[str] = []
    shown: list[str] = []
    until = ""
    for line in block.splitlines():
        if until or (command and not shown and command[-1].endswith("\\")):
            command.append(line)
        elif line.startswith(PROMPT):
            if command:
                yield Step("\n".join(command), tuple(shown))
            command, shown = [line.removeprefix(PROMPT)], []
        elif command:
            shown.append(line)
            continue
        else:
            raise ValueError(f"a console block begins with {line!r}, not with {PROMPT!r}")
        if until:
            until = "" if line == until else until
        elif found := re.search(r"<<'?(\w+)'?$", line):
            until = found[1]
    if command:
        yield Step("\n".join(command), tuple(shown))


def normal(text: str) -> str:
    """`text` after all rules; runs of blanks are one."""
    for pattern, by in RULES:
        text = pattern.sub(by, text)
    return "\n".join(re.sub(r"[ \t]+", " ", line).rstrip() for line in text.splitlines()).strip()


def same(shown: str, printed: str) -> bool:
    """Whether what is shown is what was printed."""
    wanted, found = normal(shown).splitlines(), normal(printed).splitlines()
    # The lines of `wanted` so far that can be those of `found` so far.
    places = _past_gaps({0}, wanted)
    for line in found:
        gaps = {n for n in places if n < len(wanted) and wanted[n] == "..."}
        fits = {n + 1 for n in places if n < len(wanted) and _fits(wanted[n], line)}
        places = _past_gaps(gaps | fits, wanted)
    return len(wanted) in places


def _past_gaps(places: set[int], wanted: list[str]) -> set[int]:
    """The same, where each ``...`` may stand for no line."""
    for n, line in enumerate(wanted):
        if n in places and line == "...":
            places = places | {n + 1}
    return places


def _fits(wanted: str, line: str) -> bool:
    return re.fullmatch(re.escape(wanted).replace("…", ".*"), line) is not None


class Console:
    """A page's terminal: the directory and the variables that one command leaves are the next's."""

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        self.directory = directory
        self._variables = {**variables, "COLUMNS": "100", "TERM": "dumb"}
        self._status = 0
        self._state = directory.parent / f"{directory.name}.state"

    def run(self, command: str) -> str:
        """What a command prints."""
        script = (
            f"set -a; (exit {self._status})\n{command}\n"
            f"status=$?; {{ echo $status; pwd; export -p; }} >{self._state}; exit $status\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if self._state.is_file():
            status, where, variables = self._state.read_text().split("\n", 2)
            self._state.unlink()
            self._status, self.directory = int(status), Path(where)
            found = re.findall(r'^declare -x (\w+)="((?:[^"\\]|\\.)*)"$', variables, re.MULTILINE)
            self._variables |= {name: re.sub(r"\\(.)", r"\1", value) for name, value in found}
        else:
            self._status = done.returncode
        return done.stdout


def check(console: Console, example: Example) -> None:
    """Runs a block. Raises `AssertionError` where something else was printed than is shown."""
    for step in steps(str(example.parsed)):
        printed = console.run(step.command)
        shown = "\n".join(step.shown)
        if same(shown, printed):
            continue
        difference = difflib.unified_diff(
            normal(shown).splitlines(),
            normal(printed).splitlines(),
            "shown",
            "printed",
            lineterm="",
        )
        raise AssertionError(
            f"{example.path}:{example.line}: $ {step.command}\n" + "\n".join(difference)
        )


def rewrite(page: Path, console: Console) -> None:
    """Runs a page's blocks, and writes what they print into it where that differs."""
    text = page.read_text()

    def evaluate(example: Example) -> None:
        nonlocal text
        block = str(example.parsed)
        new = []
        for step in steps(block):
            printed = console.run(step.command)
            shown = "\n".join(step.shown)
            lines = shown if same(shown, printed) else printed.rstrip("\n")
            new.append(f"{PROMPT}{step.command}\n" + (f"{lines}\n" if lines else ""))
        text = text.replace(f"```console\n{block}", f"```console\n{''.join(new)}", 1)

    document = parse(page)
    document.namespace["evaluate"] = evaluate
    for example in document.examples():
        try:
            example.evaluate()
        except Exception as error:  # skipped ones too
            print(f"{page}:{example.line}: {error}", file=sys.stderr)
    page.write_text(text)


if __name__ == "__main__":
    # python -m tests.qemu.docs.console PAGE...: shows in pages what their commands print now.
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "work").mkdir()
            rewrite(Path(name), Console(Path(place) / "work", os.environ))
