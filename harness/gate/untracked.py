# SPDX-License-Identifier: MIT
"""Files that somebody made in a git tree and did not add, though what is built would use them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from harness.builders.repository import Repository

_OBJECTS = (".c", ".S", ".dts", ".dtso")
"""What a Makefile names as ``NAME.o`` or ``NAME.dtb`` (Documentation/kbuild/makefiles.rst)."""
_INCLUDED = (".h", ".dtsi", ".lds")
_KBUILD = ("Makefile", "Kbuild")
_INCLUDE = re.compile(r'(?m)^[ \t]*(?:#[ \t]*include|/include/)[ \t]*[<"]([^>"]+)[>"]')


def left_out(repository: Repository, diff: str) -> list[str]:
    """A line for each file that git does not know, and that the build would use: named by what the
    diff adds, by the Makefile beside it, or by another such file.
    """
    waiting = [path for path in repository.untracked() if _matters(PurePosixPath(path))]
    texts = added_text(diff)
    found: dict[str, str] = {}
    more = True
    while more:
        more = False
        for path in [path for path in waiting if path not in found]:
            makefiles = [str(PurePosixPath(path).parent / name) for name in _KBUILD]
            beside = {file: _read(repository, file) for file in makefiles}
            by = next((f for f, text in {**beside, **texts}.items() if _uses(f, text, path)), "")
            if by:
                found[path] = by
                texts[path] = _read(repository, path)
                more = True
    return [
        f"{path} is not added to git, so it is left out, though {by} names it: git add -N {path}"
        for path, by in sorted(found.items())
    ]


def added_text(diff: str) -> dict[str, str]:
    """The lines that a diff adds, by file."""
    found: dict[str, str] = {}
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            file = line.removeprefix("+++ b/").rstrip("\t")
        elif line.startswith("+") and file:
            found[file] = f"{found.get(file, '')}{line[1:]}\n"
    return found


def _matters(path: PurePosixPath) -> bool:
    return path.suffix in (*_OBJECTS, *_INCLUDED) or path.name.startswith((*_KBUILD, "Kconfig"))


def _uses(file: str, text: str, path: str) -> bool:
    """Whether the file `file` with the lines `text` makes the build use `path`."""
    user, used = PurePosixPath(file), PurePosixPath(path)
    if used.suffix in _INCLUDED:
        return any(f"/{path}".endswith(f"/{w.lstrip('./')}") for w in _INCLUDE.findall(text))
    if used.name.startswith("Kconfig"):
        return bool(re.search(rf'source\s+"{re.escape(path)}"', text))
    if not user.name.startswith(_KBUILD) or not used.is_relative_to(user.parent):
        return False
    place = used.relative_to(user.parent)
    if used.suffix in _OBJECTS:
        name = rf"{re.escape(str(place.with_suffix('')))}\.(?:o|dtb|dtbo)\b"
    else:  # the Makefile of a directory
        name = rf"{re.escape(str(place.parent))}/(?![\w.])"
    return bool(re.search(rf"(?<![\w/.-]){name}", text))


def _read(repository: Repository, path: str) -> str:
    try:
        return (repository.root / path).read_text(errors="replace")
    except OSError:
        return ""
