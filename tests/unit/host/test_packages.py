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
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.programs import packages
from harness.host.project import ROOT

PROGRAM = re.compile(r"[a-z][a-z0-9_.+-]*")
OPTIONAL = {"ccache"}
"""Used where they are there."""
OTHERS = {"ssh"}
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


def programs() -> dict[str, Path]:
    """Each program of this host that a module names, with one such module."""
    found: dict[str, Path] = {}
    for top in ("harness", "tests"):
        for path in (ROOT / top).rglob("*.py"):
            for name in named(ast.parse(path.read_text())):
                if PROGRAM.fullmatch(name) and shutil.which(name, path=PATH):
                    found.setdefault(name, path.relative_to(ROOT))
    return found


def package_of(name: str) -> str:
    """The Debian package that a program of this host came with; empty for none."""
    where = shutil.which(name, path=PATH)
    # A file may be known by its name from before /bin became a link.
    for path in (f"/bin/{name}", f"/sbin/{name}", where or "", str(Path(where or "").resolve())):
        done = subprocess.run(["dpkg", "-S", path], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            lines = [line for line in done.stdout.splitlines() if "diversion" not in line]
            return lines[0].partition(":")[0] if lines else ""
    return ""


def is_essential(package: str) -> bool:
    if not package:
        return False
    command = ["dpkg-query", "-W", "-f", "${Essential}", package]
    return "yes" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="only dpkg knows whose a program is")
def test_every_program_is_in_the_list_or_on_every_debian() -> None:
    listed, theirs = {Path(name).name for name in packages()}, set(packages().values())
    missing = {
        f"{name} ({package_of(name)}), run by {path}"
        for name, path in programs().items()
        if name not in listed | OPTIONAL | OTHERS
        and package_of(name) not in theirs
        and not is_essential(package_of(name))
    }
    assert missing == set()


def test_what_is_listed_is_found_by_the_scan() -> None:
    assert {"git", "dtc", "bwrap"} <= set(programs())
