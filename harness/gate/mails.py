# SPDX-License-Identifier: MIT
"""Mails as ``git am`` takes them: taken apart by git-mailsplit(1), decoded by git-mailinfo(1)."""

from __future__ import annotations

import contextlib
import dataclasses
import email
import email.header
import email.message
import email.policy
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.builders.diff import first_diff
from harness.errors import UserError
from harness.host import tool

# A mail that git-mailinfo cannot take has no .info.
_SPLIT = """set -e
git mailsplit -b "$@" -o. >/dev/null
for part in [0-9]*; do
    git mailinfo --encoding=UTF-8 --no-scissors "$part.message" "$part.patch" \\
        <"$part" >"$part.info" 2>/dev/null || rm -f "$part.info"
done
"""
_HEADER = re.compile(rb"\A(?:From \S+ .*\n)?(?:[A-Za-z][\w-]*:.*\n(?:[ \t].*\n)*)+\r?\n")
_TAGS = re.compile(r"\[([^\[\]]*)\]")
_REPLY = re.compile(
    r"\s*(?:\[[^\]]*\]\s*)*(?:(?:re|aw|antw|antwort|sv|vs|fwd?|wg|odp|回复|回覆|答复|答覆|转发|轉寄)"
    r"(?:\[\d+\]|\(\d+\)|\^\d+)?\s*[:\uff1a]"
    # What titles begin with too, or may.
    r"|(?:réf|ref|res|tr|rv|rif|r|i|enc|doorst|vb|vl|atb|ynt|ilt|vá|pd|απ|σχετ)\s*[:\uff1a]\s*\[)",
    re.IGNORECASE,
)
"""An answer in the words of mail programs, also behind the tag of a list."""
_BETWEEN = r"(?:^|[\s,;_]|PATCH-?)"
"""Patchwork separates the words of a tag by commas."""
_NUMBER = re.compile(rf"{_BETWEEN}(\d+)(?:/| of )(\d+)(?=[\s,;]|$)", re.IGNORECASE)
_VERSION = re.compile(rf"{_BETWEEN}v\.?(\d+)(?:\.(\d+))?(?=[\s,;_]|$)", re.IGNORECASE)
_PATCH = re.compile(r"\b(?:PATCH|RFC)", re.IGNORECASE)
_IDS = re.compile(r"<[^<>\s]+>")


class Version(NamedTuple):
    """Of a series: ``v2`` or ``v2.1``."""

    major: int = 1
    minor: int = 0

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}" if self.minor else f"v{self.major}"


MOST_MAILS = 2000


@dataclasses.dataclass(frozen=True)
class Mail:
    """One mail. ``body`` is what it says, decoded, its diff included."""

    place: int
    """Which of the mails of its file it is; counts from 1."""
    subject: str
    """Whole, with ``[PATCH v2 1/3]`` and ``Re:``."""
    title: str
    """Without them."""
    author: str
    body: str
    message_id: str = ""
    references: frozenset[str] = frozenset()
    """The mails that it answers or follows."""
    replaces: tuple[int, int] | None = None
    """The number of the patch that it is sent anew for, where its own subject has none."""

    @property
    def has_diff(self) -> bool:
        """Whether there is a diff in it."""
        return first_diff(self.body) is not None

    @property
    def reply(self) -> bool:
        """Whether it is somebody's answer, and no patch sent in reply to another."""
        return _REPLY.match(self.subject) is not None

    @property
    def version(self) -> Version:
        """Of the series; v1 where it does not say."""
        found = [match for tag in self._tags() for match in _VERSION.finditer(tag)]
        return max((Version(int(m[1]), int(m[2] or 0)) for m in found), default=Version())

    @property
    def number(self) -> tuple[int, int] | None:
        """``2/3`` of its subject; 0 is the cover letter."""
        found = [match for tag in self._tags() for match in _NUMBER.finditer(tag)]
        return next(((int(match[1]), int(match[2])) for match in found), self.replaces)

    @property
    def tagged(self) -> bool:
        """Whether its subject says that it is a patch, as ``[PATCH]`` and ``[v2,1/3]`` do."""
        if self.number is not None or self.version != Version():
            return True
        return any(_PATCH.search(tag) for tag in self._tags())

    @property
    def cover(self) -> bool:
        """Whether it is a series' cover letter, which may show a range-diff or an interdiff."""
        return self.number is not None and self.number[0] == 0

    def _tags(self) -> list[str]:
        head = self.subject
        if self.title and self.title in head:
            head = head[: head.index(self.title)]
        return _TAGS.findall(head)

    def __str__(self) -> str:
        return f"`{self.subject or '(no subject)'}` ({self.author or 'nobody'})"


def looks_like_mail(data: bytes) -> bool:
    """Whether it begins with a mail's header."""
    return _HEADER.match(data) is not None


def read_mails(data: bytes, name: str) -> list[Mail]:
    """The mails of a mailbox, or the one mail, in the order of the file. Raises `UserError`."""
    if len(re.findall(rb"^From ", data, re.MULTILINE)) > MOST_MAILS:
        raise UserError(f"{name} holds more than {MOST_MAILS} mails: give one thread alone")
    with tempfile.TemporaryDirectory(prefix="harness-mail-") as scratch:
        place = Path(scratch)
        # lore's mailboxes quote a `From ` in a text as `>From `
        style = ["--mboxrd"] if data.startswith(b"From mboxrd@") else []
        # In one run, confined: what strangers send is what they are for.
        words = ["sh", "-c", _SPLIT, "split", *style]
        status, _output, errors = tool.capture(words, data=data, writable=[place], cwd=place)
        if status != 0:
            raise UserError(f"{name}: git mailsplit cannot read it: {errors.strip()}")
        parts = sorted(path for path in place.iterdir() if path.name.isdigit())
        return [_mail(part, number) for number, part in enumerate(parts, 1)]


def _mail(part: Path, place: int) -> Mail:
    raw = part.read_bytes()
    message = email.message_from_bytes(raw)
    subject = _header(message, "subject")
    info, body = dict[str, str](), ""
    if (said := part.with_suffix(".info")).exists():
        info = dict(_fields(said.read_bytes().decode("utf-8", "replace")))
        files = (part.with_suffix(kind).read_bytes() for kind in (".message", ".patch"))
        body = "".join(data.decode("utf-8", "surrogateescape") for data in files)
        body = body.replace("\r\n", "\n")
    if first_diff(body) is None:
        attached = _texts(raw)  # attachments that mailinfo passes over
        body = attached if first_diff(attached) is not None else body
    who = f"{info.get('Author', '')} <{info['Email']}>" if info.get("Email") else ""
    return Mail(
        place,
        subject,
        info.get("Subject", "") or _title(subject),
        who.strip() or _header(message, "from"),
        body,
        next(iter(_ids(message, "message-id")), ""),
        frozenset(_ids(message, "in-reply-to", "references")),
    )


def _fields(output: str) -> Iterator[tuple[str, str]]:
    for line in output.splitlines():
        name, _, value = line.partition(": ")
        yield name, value.strip()


def _title(subject: str) -> str:
    while match := re.match(r"\s*\[[^\]]*\]\s*", subject) or _REPLY.match(subject):
        subject = subject[match.end() - match[0].endswith("[") :]
    return subject.strip()


def _ids(message: email.message.Message, *names: str) -> list[str]:
    return [found for name in names for found in _IDS.findall(str(message[name] or ""))]


def _header(message: email.message.Message, name: str) -> str:
    """A header's text, also in bare UTF-8; what cannot be decoded is shown as it is."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
    text = str(raw).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with contextlib.suppress(LookupError, ValueError):
        text = str(email.header.make_header(email.header.decode_header(text)))
    return " ".join(text.split())


def _texts(raw: bytes) -> str:
    """The texts of all parts, and attachments that are called a patch."""
    texts = []
    for part in email.message_from_bytes(raw).walk():
        called = (part.get_filename() or "").endswith((".patch", ".diff"))
        if part.is_multipart() or not (part.get_content_maintype() == "text" or called):
            continue
        data = part.get_payload(decode=True)
        if isinstance(data, bytes):
            texts.append(data.decode("utf-8", "surrogateescape").replace("\r\n", "\n"))
    return "\n".join(texts)
