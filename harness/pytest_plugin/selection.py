# SPDX-License-Identifier: MIT
"""``--qemu-select FILE``: runs the tests that a file names, a line each, and no others.

A line ``!NAME`` leaves a test out; where a file has only such lines, all others are run.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.pytest_plugin.session import GIVEN

LEFT_OUT = "!"
"""Begins the line of a test that is not run."""


def numbered(path: Path) -> dict[str, int]:
    """Each name in a file, with the number of its line; ``#`` begins a comment where it begins a
    line. Raises `UserError` for a file that cannot be read, or is no text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--qemu-select: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--qemu-select: {path} is no text: {error}") from error
    names: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            names.setdefault(line, number)
    return names


def read_selection(path: Path) -> set[str]:
    """The names of the tests to run in a file. Raises as `numbered`."""
    return {name for name in numbered(path) if not name.startswith(LEFT_OUT)}


def name_of(item: pytest.Item) -> str:
    """A test as pytest names it, without the kernel among its parameters: one line is for all."""
    spec = getattr(item, "callspec", None)
    version = spec.params.get("kernel_version") if spec is not None else None
    return item.nodeid if version is None else name_without_kernel(item.nodeid, version)


def name_without_kernel(test: str, version: str = GIVEN) -> str:
    """The name of a test without that of a kernel: by default of one that was given as it is."""
    return test.replace(f"[{version}-", "[").replace(f"[{version}]", "")


def _problem(config: pytest.Config, name: str, known: Collection[str]) -> str:
    """What is wrong with a name that is none of the collected tests'; "" where nothing is.

    A file that exists and that nobody asked pytest to collect says nothing about its tests.
    """
    file, _, test = name.partition("::")
    inside = [other for other in known if other.partition("::")[0] == file]
    if test and (config.rootpath / file).is_file():
        partly = any(
            arg.partition("::")[1] and file.endswith(arg.partition("::")[0].lstrip("./"))
            for arg in config.args
        )
        if not inside or partly:
            return ""
    near = difflib.get_close_matches(name, inside or known, 1)
    return f"{name} names no test" + (f"; did you mean {near[0]}?" if near else "")


def select(config: pytest.Config, items: list[pytest.Item], path: Path) -> None:
    """Keeps what the file names, in its order. Raises `pytest.UsageError` for a file that names no
    test at all, and for each line that names none, with its number.
    """
    try:
        names = numbered(path)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    if not names:
        raise pytest.UsageError(f"--qemu-select {path}: it names no test")
    out = {name.removeprefix(LEFT_OUT) for name in names if name.startswith(LEFT_OUT)}
    names = {name: at for name, at in names.items() if not name.startswith(LEFT_OUT)}
    groups: Sequence[list[pytest.Item]] = ([], [])
    known: set[str] = set()
    for item in items:
        name = name_of(item)
        known.add(name)
        wanted = (name in names or not names) and not {name, item.nodeid} & out
        groups[wanted].append(item)
    problems = [
        f"--qemu-select {path}:{number}: {problem}"
        for name, number in names.items()
        if name not in known and (problem := _problem(config, name, known))
    ]
    if problems:
        raise pytest.UsageError("\n".join(problems))
    config.hook.pytest_deselected(items=groups[False])
    items[:] = sorted(groups[True], key=lambda item: names.get(name_of(item), 0))
