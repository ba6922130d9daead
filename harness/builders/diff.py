# SPDX-License-Identifier: MIT
"""Which files a unified diff changes, as git reads it (git-apply(1)), before it is applied."""

from __future__ import annotations

import re

from harness.errors import UserError
from harness.host.process import capture

_HEADER = r"^(?:--- |\+\+\+ |diff --git |(?:rename|copy) \w+ )"
_ABSOLUTE = re.compile(rf"{_HEADER}/(?!dev/null\b)\S*", re.MULTILINE)
_UPWARDS = re.compile(rf"{_HEADER}(?:\S*/)?\.\./\S*", re.MULTILINE)
_SOURCE = re.compile(r"^(?:rename|copy) from (.*)$", re.MULTILINE)
_SPECIAL = re.compile(r"^ (?:create mode|delete mode|mode change \d+ =>) (1[26]0000) (.*)", re.M)


def touched_files(text: str, name: str) -> list[str]:
    """The files that the diff `text` names, without the leading ``a/`` or ``b/``; sorted.

    Raises `UserError`, with `name` for what it is, where it is no diff, names no file, or names one
    outside the tree: an absolute path, one with ``..``, a symbolic link, a submodule.
    """
    data = text.encode(errors="surrogateescape")
    for pattern, what in ((_ABSOLUTE, "an absolute path"), (_UPWARDS, "a path with ..")):
        if found := pattern.search(text):
            raise UserError(f"{name}: `{found[0].strip()}`: {what} leaves the tree")
    output = _git("--numstat", "-z", data=data, name=name)
    fields = (field.split("\t", 2) for field in output.split("\0"))
    touched = {words[2] for words in fields if len(words) == 3} | set(_SOURCE.findall(text))
    paths = sorted(touched)
    for path in paths:
        if path.startswith("/") or ".." in path.split("/") or ".git" in path.split("/"):
            raise UserError(f"{name}: {path}: this path leaves the tree")
    for mode, path in _SPECIAL.findall(_git("--summary", data=data, name=name)):
        what = "a symbolic link" if mode == "120000" else "a submodule"
        raise UserError(f"{name}: {path} is {what}, which may lead out of the tree")
    if not paths:
        raise UserError(f"{name} is no unified diff: it names no file")
    return paths


def _git(*options: str, data: bytes, name: str) -> str:
    status, output, errors = capture(["git", "apply", *options, "-"], data=data)
    if status != 0:
        why = errors.strip().removeprefix("error: ")
        raise UserError(f"{name} is no unified diff that can be read: {why}")
    return output.decode(errors="surrogateescape")
