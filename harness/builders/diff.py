# SPDX-License-Identifier: MIT
"""What a unified diff is, and which files it changes, as git reads it (git-apply(1))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.host import tool
from harness.host.process import capture

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_EXTENDED = re.compile(
    r"(?:old mode|new mode|deleted file mode|new file mode|index|similarity index"
    r"|dissimilarity index|rename from|rename to|copy from|copy to|GIT binary patch|Binary files"
    r"|--- )"
)
_NAMES = re.compile(r"(?:--- |\+\+\+ |diff --git |(?:rename|copy) (?:from|to) )")
_ABSOLUTE = re.compile(rf"{_NAMES.pattern}/(?!dev/null\b)\S*")
_UPWARDS = re.compile(rf"{_NAMES.pattern}(?:\S*/)?\.\./\S*")
_BARE_GIT = re.compile(r"diff --git (?![a-z]/)(\S+) \1$")
_NEW_NAME = re.compile(r"\+\+\+ (?![a-z]/)(?!/dev/null)([^\t]+)")
_TOP = re.compile(
    r"(?:arch|block|certs|crypto|Documentation|drivers|fs|include|init|io_uring|ipc|kernel|lib"
    r"|LICENSES|mm|net|rust|samples|scripts|security|sound|tools|usr|virt)/|[^/]+$"
)
"""What stands at the top of a kernel's tree."""
_OTHER_FORMS = (
    (
        re.compile(r"^\x1b\[[\d;]*m(?:diff |--- |commit )", re.M),
        "has terminal colours in it: use --no-color",
    ),
    (re.compile(r"^\*\*\* .*\n--- .*\n\*{15}", re.M), "is a context diff: use `diff -u`"),
    (re.compile(r"^\d+(?:,\d+)?[acd]\d+(?:,\d+)?\n[<>] ", re.M), "is a plain diff: use `diff -u`"),
    (re.compile(r"^diff --(?:cc|combined) ", re.M), "is the diff of a merge: give its commits"),
    (re.compile(r"^(?:> ?|[ \t]+)(?:diff --git |--- a/)", re.M), "is quoted or indented"),
)
"""What people take for a unified diff, and what to do about it."""
_HUNKLESS = re.compile(r"^--- .*\n\+\+\+ .*(?:\n*\Z|\ndiff --git )", re.M)
_SOURCE = re.compile(r"^(?:rename|copy) from (.*)$", re.MULTILINE)
_SPECIAL = re.compile(r"^ (?:create mode|delete mode|mode change \d+ =>) (1[26]0000) (.*)", re.M)


def first_diff(text: str) -> int | None:
    """Where the first file of a diff begins; what is above is message. None where there is none.

    Where git made the diff, that is the first ``diff --git`` with more of a header below it, even
    if a message above it quotes another diff.
    """
    lines = text.split("\n")
    starts = list(_starts(lines))
    found = next((at for at in starts if lines[at].startswith("diff --git ")), None)
    if found is None:
        found = starts[0] if starts else None
    return None if found is None else sum(len(line) + 1 for line in lines[:found])


def touched_files(text: str, name: str, *, trusted: bool = False) -> list[str]:
    """The files that the diff `text` names, without the leading ``a/`` or ``b/``; sorted.

    Raises `UserError`, with `name` for what it is, where it is no diff, names no file, or names one
    outside the tree: an absolute path, one with ``..``, a symbolic link, a submodule. git reads it
    confined, unless it is `trusted`, as the project's own patches are: there are hundreds of them.
    """
    text = text[first_diff(text) or 0 :]
    headers = list(_headers(text.split("\n")))
    for pattern, what in ((_ABSOLUTE, "an absolute path"), (_UPWARDS, "a path with ..")):
        for line in headers:
            if found := pattern.match(line):
                raise UserError(f"{name}: `{found[0].strip()}`: {what} leaves the tree")
    _check_prefixes(headers, name)
    if _HUNKLESS.search(text):
        raise UserError(f"{name} is cut short: it names a file, and has no hunk for it")
    # Each name ends with a NUL, and the summary comes after all of them.
    numbers, _, summary = _numstat(text, name, trusted).rpartition("\0")
    fields = (field.split("\t", 2) for field in numbers.split("\0"))
    touched = {words[2] for words in fields if len(words) == 3} | set(_SOURCE.findall(text))
    paths = sorted(touched)
    for path in paths:
        if path.startswith("/") or ".." in path.split("/") or ".git" in path.split("/"):
            raise UserError(f"{name}: {path}: this path leaves the tree")
    for mode, path in _SPECIAL.findall(summary):
        what = "a symbolic link" if mode == "120000" else "a submodule"
        raise UserError(f"{name}: {path} is {what}, which may lead out of the tree")
    if not paths:
        raise UserError(f"{name} is no unified diff: it names no file")
    return paths


def _starts(lines: list[str]) -> Iterator[int]:
    """The numbers of the lines that begin a file of a diff."""
    at = 0
    while at < len(lines):
        line, following = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
        if line.startswith("diff --git ") and _EXTENDED.match(following):
            yield at
            # its own names are no further file
            at += next((n for n in range(1, 12) if _plain(lines, at + n)), 0) + 1
        elif _plain(lines, at):
            yield at
            at += 2
        elif hunk := _HUNK.match(line):
            at = _after_hunk(lines, at + 1, hunk)
        else:
            at += 1


def _plain(lines: list[str], at: int) -> bool:
    """Whether the names of a file stand in this line and the next, and a hunk after them."""
    if at + 2 >= len(lines) or not lines[at].startswith("--- "):
        return False
    return lines[at + 1].startswith("+++ ") and lines[at + 2].startswith("@@ -")


def _after_hunk(lines: list[str], at: int, hunk: re.Match[str]) -> int:
    old, new = (int(count) if count is not None else 1 for count in hunk.groups())
    while at < len(lines) and (old > 0 or new > 0):
        kind = lines[at][:1]
        old -= kind in ("-", " ", "")
        new -= kind in ("+", " ", "")
        at += 1
    return at


def _headers(lines: list[str]) -> Iterator[str]:
    """The lines with names of files, outside of hunks."""
    at = 0
    while at < len(lines):
        if hunk := _HUNK.match(lines[at]):
            at = _after_hunk(lines, at + 1, hunk)
            continue
        if _NAMES.match(lines[at]):
            yield lines[at]
        at += 1


def _check_prefixes(headers: list[str], name: str) -> None:
    """Says what to do about names without ``a/`` and ``b/``: git would take a directory off."""
    form = _BARE_GIT
    if not any(line.startswith("diff --git ") for line in headers):
        form = _NEW_NAME
    found = (match for line in headers if (match := form.match(line)))
    bare = next((match for match in found if _TOP.match(match[1])), None)
    if bare is not None:
        raise UserError(
            f"{name}: its names have no a/ and b/ before them, so {bare[1]} would be taken for "
            f"{bare[1].partition('/')[2] or 'nothing'}: make it with "
            "`git -c diff.noprefix=false format-patch` (or `git diff --src-prefix=a/ "
            "--dst-prefix=b/`)"
        )


def _numstat(text: str, name: str, trusted: bool) -> str:
    data = text.encode(errors="surrogateescape")
    # Outside of any repository: in one, paths would be taken from where the user stands in it.
    words = ["git", "apply", "--numstat", "--summary", "-z", "-"]
    if trusted:
        status, output, errors = capture(words, Path("/"), data)
    else:
        status, output, errors = tool.capture(words, data=data)
    if status != 0:
        said = [line for line in errors.splitlines() if line.startswith("error: ")]
        why = (said or [errors.strip()])[-1].removeprefix("error: ")
        other = next((what for form, what in _OTHER_FORMS if form.search(text)), None)
        if other is not None:
            raise UserError(f"{name} is no unified diff, but {other}")
        why = why.partition(" (allow with")[0]  # an option of git's that nobody has here
        hint = ""
        if "corrupt patch" in why:
            hint = "; where a mail program has changed its lines, attach it, or use git send-email"
        raise UserError(f"{name} is no unified diff that can be read: {why}{hint}")
    return output.decode(errors="surrogateescape")
