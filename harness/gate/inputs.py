# SPDX-License-Identifier: MIT
"""Reads what is to be judged: diffs, mails, mailboxes, or the commits of a git tree."""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import lzma
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.builders.diff import first_diff, touched_files
from harness.errors import UserError
from harness.gate.mails import looks_like_mail, read_mails
from harness.gate.series import choose
from harness.host.git import RUNS_NOTHING
from harness.host.process import capture
from harness.host.userpath import usable

MOST_BYTES = 64 * 2**20
_TAG = re.compile(r"^(?:\s*\[[^\]]*\])+\s*")
_OTHERS = (
    (b"\xff\xfe", "UTF-16 text, as PowerShell's > writes it: use `git format-patch` itself"),
    (b"\xfe\xff", "UTF-16 text: write it as UTF-8"),
    (b"\x28\xb5\x2f\xfd", "zstd data: decompress it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
)
_WEB_PAGE = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)
_COMMIT = re.compile(r"^commit [0-9a-f]{40}(?: \(.*\))?$", re.M)
_AUTHOR = re.compile(r"(?:# User |Author:|From:|author (?=.*>))([^>]*>?)")
_NO_SUBJECT = re.compile(
    r"#|commit |(?:Author|Commit|From|Date|AuthorDate|CommitDate|Merge|Index):|---|={9}|diff "
    r"|(?:tree|parent) [0-9a-f]{40}|(?:author|committer) .*> \d+ |gpgsig |Origin:|Bug.*: http"
)
"""What ``git show`` in each format, hg, quilt and ``diff -r`` write above a diff."""
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class Input:
    """One patch as text, decoded."""

    name: str
    subject: str
    author: str
    text: str
    """Its diff, from the first file on."""
    paths: tuple[str, ...]
    """The files that it changes, without ``a/`` and ``b/``."""
    message: str = ""
    """What stands above its diff."""
    notes: tuple[str, ...] = ()
    """What was left out of the file that it is from, and why: for the user to read."""

    @property
    def digest(self) -> str:
        """SHA-256 of the diff, as hex."""
        return hashlib.sha256(self.text.encode(errors="surrogateescape")).hexdigest()

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
    notes: list[str] = []
    for path in paths:
        found += _read_file(path, notes, alone=len(paths) == 1)
    if not found:
        raise UserError(f"there is no patch: {'; '.join(notes) or 'no file was given'}")
    if notes:
        found[0] = dataclasses.replace(found[0], notes=tuple(notes))
    return found


def _read_file(path: Path, notes: list[str], *, alone: bool) -> list[Input]:
    name = "standard input" if str(path) == "-" else path.name
    data = _unpacked(content(path, name), name)
    # git am passes over these too
    data = re.sub(rb"\A(?:[ \t\r]*\n)+", b"", data.removeprefix(_BOM))
    if not data.strip():
        raise UserError(f"{name} is empty: expected a patch, a mail or a mailbox")
    if not looks_like_mail(data):
        text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        return [_plain(name, text)]
    mails = read_mails(data, name)
    chosen = choose(mails, name)
    if not chosen.patches:
        if not alone and all(mail.cover for mail in mails):
            notes += chosen.notes
            return []
        raise UserError(f"{name}: none of its {len(mails)} mails holds a diff")
    notes += chosen.notes
    order = list(mails)
    if all(mail.number for mail in mails):
        order.sort(key=lambda mail: (mail.version, mail.number or (0, 0)))
    labels = {mail.place: f"{name} ({index})" for index, mail in enumerate(order, 1)}
    return [
        one_patch(
            name if len(mails) == 1 else labels[mail.place], mail.title, mail.author, mail.body
        )
        for mail in chosen.patches
    ]


def content(path: Path, name: str) -> bytes:
    """What a file holds, or the standard input, as it is. Raises `UserError`."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        elif path.is_dir():
            raise UserError(f"{path} is a directory: name its patches, in order")
        else:
            with usable(path).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    _check_size(data, name)
    return data


def _check_size(data: bytes, name: str) -> None:
    if len(data) > MOST_BYTES:
        raise UserError(f"{name} is larger than {MOST_BYTES >> 20} MiB")


def _unpacked(data: bytes, name: str) -> bytes:
    """Decompressed, where it is compressed. Raises `UserError`, also for what is no text."""
    opened = _decompressor(data)
    if opened is not None:
        try:
            data = opened.decompress(data, MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UserError(f"{name} is compressed, and damaged: {error}") from error
        _check_size(data, name)
        if not opened.eof:
            raise UserError(f"{name} is compressed, and cut short: download it again")
    for magic, what in _OTHERS:
        if data.startswith(magic):
            raise UserError(f"{name} is {what}")
    if _WEB_PAGE.match(data):
        raise UserError(f"{name} is a web page: save the mail itself (`raw`, or the mbox)")
    return data


class _Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _decompressor(data: bytes) -> _Decompressor | None:
    """What reads the data, by its first bytes; None where it is not compressed."""
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor() if data.startswith(b"\xfd7zXZ\0") else None


def _plain(name: str, text: str) -> Input:
    """A patch without a mail's header: a diff, ``git show``, ``hg export``."""
    message = text[: first_diff(text) or 0]
    if len(_COMMIT.findall(text)) > 1:
        raise UserError(f"{name} holds several commits, as git log -p does: use git format-patch")
    author = ""
    subject = ""
    for line in message.splitlines():
        said = line.strip()
        if (who := _AUTHOR.match(said)) and not author:
            author = who[1].strip()
        if said and not _NO_SUBJECT.match(said) and not subject:
            subject = re.sub(r"^(?:Subject|Description): ", "", said)
    return one_patch(name, subject, author, text)


def one_patch(name: str, subject: str, author: str, text: str) -> Input:
    """Raises `UserError` where the text is no diff, or one that leaves the tree."""
    text = text if text.endswith("\n") else f"{text}\n"
    at = first_diff(text) or 0
    paths = tuple(touched_files(text, name))
    return Input(name, _TAG.sub("", subject), author, text[at:], paths, text[:at])


# Commits


def git(directory: Path, *words: str) -> bytes:
    """Runs git in a repository and returns what it says. Raises `UserError` with its reason."""
    options = [*RUNS_NOTHING, "-c", "log.showSignature=false"]
    # Nothing is fetched: what is missing of a partial clone would be, by programs that it names.
    options += ["-c", "protocol.allow=never"]
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
        _must_be_git(directory)
        raise UserError(
            f"{directory} has no commit {name}: `git log` and `git branch -a` name what it has"
            " (a shallow clone has little)"
        ) from None


def _must_be_git(directory: Path) -> None:
    """Raises `UserError` where a directory is in no git tree."""
    try:
        git(directory, "rev-parse", "--git-dir")
    except UserError:
        raise UserError(
            f"{directory} is no git tree: name the one that has the commits, with --kernel DIR"
        ) from None


def difference(directory: Path, old: str, new: str) -> bytes:
    """The change from one commit to another as a diff; empty where there is none."""
    words = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
    return git(directory, *words, old, new)


def tree_diff(directory: Path, old: str, new: str, name: str = "") -> Input:
    """The change from one commit to another as one patch. Raises `UserError` for an empty one."""
    text = difference(directory, old, new).decode("utf-8", "surrogateescape")
    described = git(directory, "log", "-1", "--format=%s%x00%an <%ae>", new)
    subject, _, author = described.decode("utf-8", "replace").strip().partition("\0")
    return one_patch(name or new[:12], subject, author, text)


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
