# SPDX-License-Identifier: MIT
"""What a gate is given: diffs, mails, mailboxes and commits."""

from __future__ import annotations

import base64
import io
import quopri
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.gate.inputs import commit_of, commits, read
from harness.host import process

DIFF = "diff --git a/mm/cma.c b/mm/cma.c\n--- a/mm/cma.c\n+++ b/mm/cma.c\n@@ -1 +1 @@\n-a\n+ä = b\n"


def mail(subject: str, body: str, encoding: str = "8bit") -> bytes:
    data = body.encode()
    if encoding == "base64":
        data = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        data = quopri.encodestring(data)
    head = f"From: A <a@example.org>\nSubject: {subject}\nMIME-Version: 1.0\n"
    head += f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + data


def mbox(*mails: bytes) -> bytes:
    return b"".join(b"From 1234 Mon Sep 17 00:00:00 2001\n" + one + b"\n" for one in mails)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_plain_diff(tmp_path: Path) -> None:
    (patch,) = read([write(tmp_path / "x.patch", b"what it does\n\n" + DIFF.encode())])
    assert (patch.name, patch.subject, patch.paths) == ("x.patch", "what it does", ("mm/cma.c",))
    assert patch.text.endswith("+ä = b\n")


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_a_mail_is_decoded(tmp_path: Path, encoding: str) -> None:
    body = f"why\n---\n mm/cma.c | 2 +-\n\n{DIFF}-- \n2.39.5\n"
    data = mail("[PATCH v3 mm] cma: x", body, encoding)
    (patch,) = read([write(tmp_path / "x.eml", data)])
    assert (patch.subject, patch.author) == ("cma: x", "A <a@example.org>")
    assert "+ä = b\n" in patch.text
    assert patch.paths == ("mm/cma.c",)


def test_a_mailbox_is_a_series_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    cover = mail("[PATCH 0/2] both", "no diff\n")
    second = mail("[PATCH 2/2] second", DIFF.replace("mm/cma.c", "mm/b.c"))
    first = mail("[PATCH 1/2] first", DIFF)
    found = read([write(tmp_path / "x.mbox", mbox(cover, second, first))])
    assert [patch.subject for patch in found] == ["first", "second"]
    assert [patch.name for patch in found] == ["x.mbox (2)", "x.mbox (3)"]


def test_an_answer_that_quotes_a_diff_is_none(tmp_path: Path) -> None:
    quoted = "".join(f"> {line}\n" for line in DIFF.splitlines())
    data = mbox(mail("[PATCH] x", DIFF), mail("Re: [PATCH] x", quoted))
    assert len(read([write(tmp_path / "x.mbox", data)])) == 1


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DIFF.encode())))
    assert read([Path("-")])[0].name == "standard input"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x is empty"),
        (b" \n", "x is empty"),
        (b"hello\n", "x is no unified diff"),
        (mail("hello", "there\n"), "x: none of its 1 mails holds a diff"),
        (DIFF.replace("b/mm", "b/../mm").encode(), r"x: .*with \.\. leaves the tree"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read([write(tmp_path / "x", data)])


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read([tmp_path / "none"])
    with pytest.raises(UserError, match="is a directory"):
        read([tmp_path])


# Commits


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    place.mkdir()

    def git(*words: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *words], cwd=place, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for number in range(4):
        (place / "file").write_text(f"{number}\n")
        git("add", "file")
        git("commit", "-q", "-m", f"commit {number}")
    return place


def test_a_range_is_its_commits_in_their_order(repository: Path) -> None:
    base, found = commits(repository, "main~2..main")
    assert base == commit_of(repository, "main~2")
    assert [patch.subject for patch in found] == ["commit 2", "commit 3"]
    assert [patch.name for patch in found] == [
        commit_of(repository, name)[:12] for name in ("main~1", "main")
    ]
    assert "-1\n+2\n" in found[0].text


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("main", r"expected A\.\.B"),
        ("main..", r"expected A\.\.B"),
        ("main...main~1", r"expected A\.\.B"),
        ("none..main", "has no commit none"),
        ("--output=x..main", "is no commit"),
        ("main..main", "no commit in it"),
    ],
)
def test_a_range_that_is_none_is_said(repository: Path, span: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        commits(repository, span)


def test_a_range_of_another_user_s_tree(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = process.clean_environment() | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    monkeypatch.setattr(process, "clean_environment", lambda: given)
    assert len(commits(repository, "HEAD~1..HEAD")[1]) == 1


def test_a_directory_that_is_no_repository_is_said() -> None:
    # pytest's own directory may be in a checkout.
    with tempfile.TemporaryDirectory() as place, pytest.raises(UserError, match="is no git tree"):
        commits(Path(place), "a..b")


def test_a_repository_s_own_programs_are_not_run(repository: Path, tmp_path: Path) -> None:
    (repository / ".gitattributes").write_text("file diff=mine\n")
    for name in ("diff.mine.textconv", "diff.external", "core.fsmonitor", "core.pager"):
        words = ["git", "config", name, f"touch {tmp_path}/ran; cat"]
        subprocess.run(words, cwd=repository, check=True)
    commits(repository, "main~1..main")
    assert not (tmp_path / "ran").exists()
