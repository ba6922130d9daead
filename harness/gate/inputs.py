# SPDX-License-Identifier: MIT
"""Reads what is to be judged: diffs, mails, mailboxes, or the commits of a git tree."""

from __future__ import annotations

import dataclasses
import email
import email.message
import email.policy
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.builders.diff import touched_files
from harness.errors import UserError
from harness.host.process import capture

MOST_BYTES = 64 * 2**20
_NUMBER = re.compile(r"\[[^\]]*?(\d+)/\d+\s*\]")
_TAG = re.compile(r"^(?:\s*\[[^\]]*\])+\s*")
_DIFF = re.compile(r"^(?:diff --git |--- \S.*\n\+\+\+ \S)", re.MULTILINE)
_MAIL = re.compile(
    rb"\A(?:From \S+ .*\n)?(?:[A-Za-z][\w-]*:.*\n(?:[ \t].*\n)*)+\r?\n", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Input:
    """One patch as text, decoded."""

    name: str
    subject: str
    author: str
    text: str
    paths: tuple[str, ...]
    """What it changes, without ``a/`` and ``b/``."""

    def write(self, path: Path) -> Path:
        """Writes it for ``git apply``."""
        path.write_text(self.text, errors="surrogateescape")
        return path


def read(paths: Sequence[Path]) -> list[Input]:
    """All patches of the files, in the order of the files, and of the numbers in a mailbox.

    ``-`` is the standard input. Raises `UserError` for what holds no patch, or one that leaves the
    tree.
    """
    found: list[Input] = []
    for path in paths:
        found += _read_file(path)
    return found


def _read_file(path: Path) -> list[Input]:
    name = "standard input" if str(path) == "-" else path.name
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        elif path.is_dir():
            raise UserError(f"{path} is a directory: name its patches, in order")
        else:
            data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{name} is larger than {MOST_BYTES >> 20} MiB")
    if not data.strip():
        raise UserError(f"{name} is empty: expected a patch, a mail or a mailbox")
    if not _MAIL.match(data):
        text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        return [_input(name, _first_line(text), "", text)]
    messages = _messages(data)
    found = []
    for number, (subject, author, text) in enumerate(messages, 1):
        if _DIFF.search(text):
            label = name if len(messages) == 1 else f"{name} ({number})"
            found.append(_input(label, subject, author, text))
    if not found:
        raise UserError(f"{name}: none of its {len(messages)} mails holds a diff")
    return found


def _input(name: str, subject: str, author: str, text: str) -> Input:
    return Input(name, _TAG.sub("", subject), author, text, tuple(touched_files(text, name)))


def _first_line(text: str) -> str:
    """What a diff without a mail's header says of itself."""
    before = _DIFF.split(text, maxsplit=1)[0]
    for line in before.splitlines():
        if line.strip():
            return line.strip().removeprefix("Subject: ")
    return ""


def _messages(data: bytes) -> list[tuple[str, str, str]]:
    """Subject, author and body of each mail; those with numbers in their order."""
    parts = [data]
    if data.startswith(b"From "):
        parts = re.split(rb"(?m)^(?=From \S+ +\S.*\d{4}$)", data)[1:] or [data]
    found = []
    for part in parts:
        raw = part.split(b"\n", 1)[1] if part.startswith(b"From ") else part
        message = email.message_from_bytes(raw, policy=email.policy.default)
        subject = " ".join(str(message["subject"] or "").split())
        found.append((subject, str(message["from"] or ""), _body(message)))
    numbers = [_NUMBER.search(subject) for subject, _, _ in found]
    if all(numbers):
        order = [int(number[1]) for number in numbers if number]
        found = [mail for _, mail in sorted(zip(order, found, strict=True), key=lambda p: p[0])]
    return found


def _body(message: email.message.EmailMessage) -> str:
    """Its texts, decoded; attached patches too."""
    texts = []
    for part in message.walk():
        if part.is_multipart() or part.get_content_maintype() != "text":
            continue
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        texts.append(data.decode("utf-8", "surrogateescape").replace("\r\n", "\n"))
    return "\n".join(texts)


# Commits


def git(directory: Path, *words: str) -> bytes:
    """Runs git in a repository and returns what it says. Raises `UserError` with its reason."""
    # A repository that somebody gives must not run programs of its own here.
    options = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    status, output, errors = capture(["git", *options, "-C", directory, *words])
    if status != 0:
        raise UserError(f"git {words[0]} in {directory}: {errors.strip() or status}")
    return output


def commit_of(directory: Path, name: str) -> str:
    """The full id of a commit. Raises `UserError` where there is none of that name."""
    if name.startswith("-"):
        raise UserError(f"{name} is no commit")
    try:
        return (
            git(directory, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
            .decode()
            .strip()
        )
    except UserError:
        raise UserError(f"{directory} has no commit {name}, or is no git tree") from None


def difference(directory: Path, old: str, new: str) -> bytes:
    """The change from one commit to another as a diff; empty where there is none."""
    words = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
    return git(directory, *words, old, new)


def tree_diff(directory: Path, old: str, new: str, name: str = "") -> Input:
    """The change from one commit to another as one patch. Raises `UserError` for an empty one."""
    text = difference(directory, old, new).decode("utf-8", "surrogateescape")
    described = git(directory, "log", "-1", "--format=%s%x00%an <%ae>", new)
    subject, _, author = described.decode("utf-8", "replace").strip().partition("\0")
    return _input(name or new[:12], subject, author, text)


def commits(directory: Path, span: str) -> tuple[str, list[Input]]:
    """The base commit and the patches of ``A..B``, oldest first. Raises `UserError`."""
    old, dots, new = span.partition("..")
    if not dots or not old or not new or new.startswith("."):
        raise UserError(f"--range {span}: expected A..B")
    base, tip = commit_of(directory, old), commit_of(directory, new)
    words = ("rev-list", "--reverse", "--first-parent", f"{base}..{tip}")
    ids = git(directory, *words).decode().split()
    if not ids:
        raise UserError(f"--range {span}: there is no commit in it")
    return base, [tree_diff(directory, f"{commit}^", commit) for commit in ids]
