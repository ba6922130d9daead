# SPDX-License-Identifier: MIT
"""Every program that the harness or its tests run is in the list of packages, or on every Debian.

Programs that this host does not have are not seen here; a fresh root of each release, with nothing
in it but the list's packages, shows those (``scripts/matrix``).
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness.host.programs import packages
from harness.host.project import ROOT

PROGRAM = re.compile(r"[a-z][a-z0-9_.+-]*")
OPTIONAL = {"ccache", "gdb-multiarch"}
"""Used where they are there."""
OTHERS = {"init", "look", "ssh"}
"""Names of other things, which are programs of some hosts too."""
ASKED = {"which", "require", "missing", "locate", "path_of"}
"""Functions that take names of programs."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def named(tree: ast.AST) -> Iterator[str]:
    """What may be a program: the first word of a list that is given to a call, or a variable, and
    what is asked for by its name.
    """
    for node in ast.walk(tree):
        words: list[ast.expr] = []
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            if isinstance(function, ast.Name):
                name = function.id
            words = node.args if name in ASKED else _heads(node.args[:1])
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            words = _heads([node.value])
        for word in words:
            if isinstance(word, ast.Constant) and isinstance(word.value, str):
                yield word.value


def _heads(values: list[ast.expr]) -> list[ast.expr]:
    """The first elements of lists, also of such that more is added to."""
    found = []
    for value in values:
        while isinstance(value, ast.BinOp):
            value = value.left
        if isinstance(value, ast.List):
            found += value.elts[:1]
    return found


def programs(*tops: str) -> dict[str, Path]:
    """Each program of this host that a module below `tops` names, with one such module."""
    found: dict[str, Path] = {}
    for top in tops:
        for path in (ROOT / top).rglob("*.py"):
            for name in named(ast.parse(path.read_text())):
                if PROGRAM.fullmatch(name) and shutil.which(name, path=PATH):
                    found.setdefault(name, path.relative_to(ROOT))
    return found


def packages_of(names: Iterable[str]) -> dict[str, str]:
    """The Debian package that each program of this host came with; without those of no package."""
    paths: dict[str, str] = {}
    for name in names:
        where = shutil.which(name, path=PATH) or ""
        # A file may be known by its name from before /bin became a link.
        for path in (str(Path(where).resolve()), where, f"/sbin/{name}", f"/bin/{name}"):
            paths[path] = name
    done = subprocess.run(["dpkg", "-S", *paths], capture_output=True, text=True, check=False)
    found = {}
    for line in done.stdout.splitlines():
        package, _, path = line.rpartition(": ")
        if path in paths and "diversion" not in line:
            found[paths[path]] = package.partition(":")[0]
    return found


def essential() -> set[str]:
    command = ["dpkg-query", "-W", "-f", "${Essential} ${Package}\n"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("yes ")}


@pytest.mark.slow("all code is read")
@pytest.mark.skipif(shutil.which("dpkg") is None, reason="only dpkg knows whose a program is")
def test_every_program_is_in_the_list_or_on_every_debian() -> None:
    listed, theirs = {Path(name).name for name in packages()}, set(packages().values())
    text = (ROOT / "scripts" / "packages-tests.txt").read_text()
    listed |= {line.split()[0] for line in text.splitlines() if not line.startswith("#")}
    known = listed | OPTIONAL | OTHERS
    run = {name: by for name, by in programs("harness", "tests").items() if name not in known}
    packages_there = packages_of(run)
    everywhere = theirs | essential()
    missing = {
        f"{name} ({packages_there.get(name, '')}), run by {path}"
        for name, path in run.items()
        if packages_there.get(name, "") not in everywhere
    }
    assert missing == set()


def test_what_is_listed_is_found_by_the_scan() -> None:
    assert {"git", "dtc", "bwrap"} <= set(programs("harness/builders"))
