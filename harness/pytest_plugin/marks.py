# SPDX-License-Identifier: MIT
"""The plugin's marks: what they mean, and what stops the run where one is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator

import pytest

from harness.errors import UserError
from harness.imageset.features import Feature, parse

MACHINE_KINDS = ("clone", "class", "cold", "loaded")
"""The guests that the mark ``machine`` can ask for; the first is the default."""
MARKS = (
    f"machine(kind, append=''): which guest a test gets: {', '.join(MACHINE_KINDS)} (default:"
    f" {MACHINE_KINDS[0]}); append: words for the kernel's command line",
    f"needs(*features): skipped where the image set lacks one of {', '.join(sorted(Feature))}",
    "every_kernel: runs on each kernel of --qemu-kernel-version, not only on the first",
)
"""The lines for ``pytest --markers``."""


def _keywords(mark: pytest.Mark, known: Iterable[str] = ()) -> Iterator[str]:
    for name in mark.kwargs:
        if name not in known:
            yield f"it takes no keyword {name!r}"


def _machine(mark: pytest.Mark) -> Iterator[str]:
    yield from _keywords(mark, ("append",))
    kinds = ", ".join(MACHINE_KINDS)
    if len(mark.args) != 1:
        yield f"it takes one kind of machine ({kinds}), here are {len(mark.args)}"
    elif mark.args[0] not in MACHINE_KINDS:
        near = difflib.get_close_matches(str(mark.args[0]), MACHINE_KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {kinds}"
        yield f"there is no kind of machine {mark.args[0]!r}: {hint}"
    append = mark.kwargs.get("append", "")
    if not isinstance(append, str):
        yield f"append is {append!r}, not a string of words for the kernel's command line"
    elif append.split() and mark.args and mark.args[0] == "class":
        yield "a guest that a class shares takes no append"


def _needs(mark: pytest.Mark) -> Iterator[str]:
    yield from _keywords(mark)
    if not mark.args:
        yield "it names no feature"
    for name in mark.args:
        if not isinstance(name, str):
            yield f"{name!r} is not the name of a feature"
            continue
        try:
            parse(name)
        except UserError as error:
            yield str(error)


def _every_kernel(mark: pytest.Mark) -> Iterator[str]:
    yield from _keywords(mark)
    if mark.args:
        yield "it takes no argument"


CHECKS: dict[str, Callable[[pytest.Mark], Iterator[str]]] = {
    "machine": _machine,
    "needs": _needs,
    "every_kernel": _every_kernel,
}


def check(items: Iterable[pytest.Item]) -> None:
    """Raises `pytest.UsageError` that names each invalid mark, with its test."""
    wrong = [
        f"{item.nodeid}: mark {name}: {problem}"
        for item in items
        for name, problems in CHECKS.items()
        for mark in item.iter_markers(name)
        for problem in problems(mark)
    ]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
