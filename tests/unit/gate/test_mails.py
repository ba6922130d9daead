# SPDX-License-Identifier: MIT
"""Mails, threads and patches as people have them, against what ``git am`` makes of each."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.gate.inputs import Input, read
from harness.host import confine
from harness.host.confine import NoMeans
from harness.host.tool import UNCONFINED

BASE = " * Copyright Michał Example\n */\n#define A 1\nint a(void)\n{\n\treturn A;\n}\n"
DIFF = """diff --git a/mm/cma.c b/mm/cma.c
index 536a4c2..43f6412 100644
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -1,6 +1,6 @@
  * Copyright Michał Example
  */
-#define A 1
+#define A 3
 int a(void)
 {
 \treturn A;
"""
STAT = "---\n mm/cma.c | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n\n"
HEAD = "From 1995fa1ad35af2cb0a8b2421cf9df963947c3769 Mon Sep 17 00:00:00 2001\n"
OTHER = DIFF.replace("mm/cma.c", "mm/b.c")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """git runs unconfined but in the tests of that: its start costs more than all that it does."""
    if "confined" in request.node.name:
        return

    def find() -> None:
        raise NoMeans("not here")

    monkeypatch.setattr(confine, "find", find)
    monkeypatch.setenv(UNCONFINED, "1")


def mail(
    subject: str,
    text: str = "",
    diff: str = DIFF,
    *,
    headers: str = "",
    author: str = "T <t@example.com>",
    start: str = HEAD,
) -> str:
    head = f"{start}From: {author}\nDate: Fri, 27 Nov 2026 05:52:34 +0000\nSubject: {subject}\n"
    return f"{head}{headers}\n{text}{STAT}{diff}-- \n2.39.5\n\n"


def given(tmp_path: Path, data: str | bytes, name: str = "x.mbox") -> list[Input]:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read([path])


def flowed(text: str) -> str:
    """As a mail program sends format=flowed: lines that begin with a space get one more."""
    head, _, body = text.partition("\n\n")
    stuffed = "\n".join(f" {line}" if line[:1] in (" ", ">") else line for line in body.split("\n"))
    kind = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed"
    return f"{head}\n{kind}\nContent-Transfer-Encoding: 8bit\n\n{stuffed}"


QUOTED = "bloat-o-meter says\n--- /tmp/before.txt\n+++ /tmp/after.txt\ncma_alloc 3ef -> 12c\n\n"
WITH_HUNK = "the log\n--- before.txt\n+++ after.txt\n@@ -1 +1 @@\n-a\n+b\n\nis better\n"
FORMS = {
    "a mail": mail("[PATCH 1/2] mm/cma: change A", "why\n"),
    "flowed": flowed(mail("[PATCH] mm/cma: change A", "why\n")),
    "blank lines before it": "\n\n" + mail("[PATCH] mm/cma: change A"),
    "a line with From": mail("[PATCH] mm/cma: change A", "From what was measured in 2024\nit is\n"),
    "no From line": mail("[PATCH] mm/cma: change A", start=""),
    "CRLF": mail("[PATCH] mm/cma: change A").replace("\n", "\r\n"),
    "a folded subject": mail("[PATCH] mm/cma:\n change A"),
    "an encoded subject": mail("=?utf-8?q?=5BPATCH=5D_mm/cma=3A_change_A?="),
    "another author in the text": mail(
        "[PATCH] mm/cma: change A", "From: T <t@example.com>\n\nwhy\n", author="L <l@lists.org>"
    ),
    "a quoted pair of names": mail("[PATCH] mm/cma: change A", QUOTED),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_a_mail_is_taken_as_git_am_takes_it(tmp_path: Path, data: str) -> None:
    (patch,) = given(tmp_path, data)
    assert (patch.subject, patch.author) == ("mm/cma: change A", "T <t@example.com>")
    assert patch.paths == ("mm/cma.c",)
    assert patch.text.startswith("diff --git a/mm/cma.c")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for place in (ours, theirs):
        (place / "mm").mkdir(parents=True)
        (place / "mm/cma.c").write_text(BASE)
        git(place, "init", "-q")
        git(place, "add", "mm")
        git(place, "commit", "-q", "-m", "base")
    git(ours, "apply", str(patch.write(tmp_path / "patch")))
    git(theirs, "am", "-q", str(tmp_path / "x.mbox"))
    assert (ours / "mm/cma.c").read_text() == (theirs / "mm/cma.c").read_text()
    assert git(theirs, "log", "-1", "--format=%s|%an <%ae>") == f"{patch.subject}|{patch.author}"


def git(place: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(place), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_what_stands_above_the_diff_is_message(tmp_path: Path) -> None:
    for text in (QUOTED, WITH_HUNK):
        (patch,) = given(tmp_path, mail("[PATCH] mm/cma: change A", text))
        assert patch.paths == ("mm/cma.c",)
        assert patch.text.startswith("diff --git a/mm/cma.c")
        assert "--- " in patch.message
        (patch,) = given(tmp_path, "mm/cma: change A\n\n" + text + DIFF, "plain.patch")
        assert (patch.subject, patch.paths) == ("mm/cma: change A", ("mm/cma.c",))


def test_a_diff_without_git_s_lines_begins_at_its_first_file(tmp_path: Path) -> None:
    plain = "\n".join(DIFF.split("\n")[2:]) + "--- a/mm/b.c\n+++ b/mm/b.c\n@@ -1 +1 @@\n-a\n+b\n"
    (patch,) = given(tmp_path, "why\n--- not a name\nit is\n\n" + plain)
    assert patch.text == plain
    assert patch.paths == ("mm/b.c", "mm/cma.c")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_is_compressed_is_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(mail("[PATCH] mm/cma: change A").encode())
    (patch,) = given(tmp_path, packed, "t.mbox.gz")
    assert patch.subject == "mm/cma: change A"
    with pytest.raises(UserError, match=r"t.mbox.gz is compressed, and (cut short|damaged)"):
        given(tmp_path, packed[:-8], "t.mbox.gz")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DIFF.encode("utf-16"), "UTF-16 text, as PowerShell"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"<!DOCTYPE html>\n<html><body>lore", "is a web page: save the mail itself"),
        (DIFF.replace("\tr", "  r").replace("{\n", "").encode(), "corrupt.*git send-email"),
    ],
)
def test_what_is_something_else_is_said_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        given(tmp_path, data)


NO_PREFIX = DIFF.replace("a/mm", "mm").replace("b/mm", "mm")


@pytest.mark.parametrize(
    "data",
    [
        NO_PREFIX,
        mail("[PATCH] x", diff=NO_PREFIX),
        "\n".join(NO_PREFIX.split("\n")[2:]),
        "diff --git mm/n.c mm/n.c\nnew file mode 100644\n"
        "--- /dev/null\n+++ mm/n.c\n@@ -0,0 +1 @@\n+a\n",
        "diff --git Makefile Makefile\n--- Makefile\n+++ Makefile\n@@ -1 +1 @@\n-a\n+b\n",
    ],
)
def test_names_without_a_and_b_get_a_hint(tmp_path: Path, data: str) -> None:
    with pytest.raises(UserError, match=r"no a/ and b/ before them.*diff.noprefix=false"):
        given(tmp_path, data)


@pytest.mark.parametrize(
    "names", [("linux.orig/mm/cma.c", "linux/mm/cma.c"), ("i/mm/cma.c", "w/mm/cma.c")]
)
def test_other_first_directories_are_taken_off(tmp_path: Path, names: tuple[str, str]) -> None:
    text = "\n".join(DIFF.split("\n")[2:]).replace("a/mm/cma.c", names[0])
    (patch,) = given(tmp_path, text.replace("b/mm/cma.c", names[1]))
    assert patch.paths == ("mm/cma.c",)


def test_what_other_programs_write_above_a_diff(tmp_path: Path) -> None:
    show = "commit 1234\nAuthor: T <t@example.com>\nDate:   today\n\n    mm/cma: change A\n\n"
    hg = "# HG changeset patch\n# User T <t@example.com>\n# Date 0 0\nmm/cma: change A\n\n"
    quilt = "From: T <t@example.com>\nSubject: mm/cma: change A\n\nwhy\n"
    index = f"Index: linux/mm/cma.c\n{'=' * 67}\n"
    raw = f"commit {'0' * 40}\ntree {'1' * 40}\nparent {'2' * 40}\nauthor T <t@example.com> 1 +0\n"
    raw += "committer C <c@example.com> 1 +0\n\n    mm/cma: change A\n\n"
    fuller = "commit 1234\nAuthor:     T <t@example.com>\nAuthorDate: x\nCommit:     C <c@e>\n"
    fuller += "CommitDate: x\n\n    mm/cma: change A\n\n"
    debian = "Description: mm/cma: change A\nAuthor: T <t@example.com>\nForwarded: no\n---\n"
    for head in (show, hg, quilt, quilt + index, raw, fuller, debian):
        (patch,) = given(tmp_path, head + DIFF)
        assert (patch.subject, patch.author) == ("mm/cma: change A", "T <t@example.com>")


def test_several_commits_in_one_diff_are_refused(tmp_path: Path) -> None:
    commit = f"commit {'0' * 40} (HEAD)\nAuthor: T <t@example.com>\n\n    a\n\n"
    with pytest.raises(UserError, match=r"several commits.*git format-patch"):
        given(tmp_path, commit + DIFF + "\n" + commit.replace(" (HEAD)", "") + OTHER)


def test_a_diff_whose_last_line_has_no_end_is_whole(tmp_path: Path) -> None:
    (patch,) = given(tmp_path, DIFF.rstrip("\n"))
    assert patch.text == DIFF


# Threads

COVER = mail("[PATCH 0/2] both", "Range-diff\n", diff=DIFF)
FIRST, SECOND = mail("[PATCH 1/2] first"), mail("[PATCH 2/2] second", diff=OTHER)
REPLY = mail("Re: [PATCH 2/2] second", "> +x\n\nsquash this in:\n\n", author="R <r@example.com>")
ANSWER = mail("Re: [PATCH 2/2] second", "Acked-by: A <a@example.com>\n", diff="")


def subjects(patches: list[Input]) -> list[str]:
    return [patch.subject for patch in patches]


def test_a_thread_gives_its_series_and_says_what_was_left_out(tmp_path: Path) -> None:
    found = given(tmp_path, ANSWER + SECOND + COVER + REPLY + FIRST)
    assert subjects(found) == ["first", "second"]
    said = "\n".join(found[0].notes)
    for words in ("the cover letter: `[PATCH 0/2] both`", "an answer with a diff", "an answer: "):
        assert words in said
    assert "R <r@example.com>" in said
    assert found[1].notes == ()


@pytest.mark.parametrize(
    "tag",
    [
        "PATCH v2 {}/2",
        "PATCHv2 {}/2",
        "RFC PATCH V2 {}/2",
        "PATCH {}/2 v2",
        "v2 PATCH {}/2",
        "v2,{}/2",
        "net-next,v2,{}/2",
        "PATCH-v2 {}/2",
        "PATCH v2 {} of 2",
        "PATCH][v2][{}/2",
        "PATCH RESEND v2 0{}/02",
    ],
)
def test_of_several_versions_the_newest_counts(tmp_path: Path, tag: str) -> None:
    newer = [mail(f"[{tag.format(n)}] {t}", diff=OTHER) for n, t in ((1, "first"), (2, "second"))]
    for data in (FIRST + SECOND + "".join(newer), newer[1] + FIRST + newer[0] + SECOND):
        found = given(tmp_path, data)
        assert subjects(found) == ["first", "second"]
        assert [patch.paths for patch in found] == [("mm/b.c",)] * 2
        assert sum("v2 replaces" in note for note in found[0].notes) == 2


@pytest.mark.parametrize(("older", "newer"), [("v9", "v10"), ("v2", "v2.1"), ("v2.9", "v2.10")])
def test_versions_are_numbers(tmp_path: Path, older: str, newer: str) -> None:
    old, new = (mail(f"[PATCH {version}] first") for version in (older, newer))
    for data in (old + new.replace(DIFF, OTHER), new.replace(DIFF, OTHER) + old):
        (patch,) = given(tmp_path, data)
        assert patch.paths == ("mm/b.c",)
        assert f"left out {older}, which {newer} replaces" in patch.notes[0]


@pytest.mark.parametrize(
    "prefix",
    [
        "AW: ",
        "Antwort: ",
        "RES: ",
        "TR: ",
        "R: ",
        "Re[2]: ",
        "[linux-mm] Re: ",
        "FW: RE: ",
        "\u56de\u590d: ",
        "\u7b54\u590d\uff1a",
        "=?utf-8?b?5Zue5aSNOiA=?= ",
    ],
)
def test_an_answer_in_any_language_is_left_out(tmp_path: Path, prefix: str) -> None:
    (patch,) = given(tmp_path, FIRST.replace("1/2", "1/1") + mail(f"{prefix}[PATCH 1/1] first"))
    assert patch.subject == "first"
    assert "left out an answer with a diff" in patch.notes[0]


@pytest.mark.parametrize("subject", ["+ first.patch added to -mm tree", "[tip: mm/urgent] first"])
def test_what_a_maintainer_s_tool_answers_is_no_patch_of_the_series(
    tmp_path: Path, subject: str
) -> None:
    patch = mail("[PATCH] first", headers="Message-Id: <1@x>\n")
    taken = mail(subject, "Link: x\n", headers="Message-Id: <2@x>\nIn-Reply-To: <1@x>\n")
    assert subjects(given(tmp_path, patch + taken)) == ["first"]


def test_a_patch_sent_anew_without_its_number_takes_its_place(tmp_path: Path) -> None:
    first = FIRST.replace("Subject", "Message-Id: <1@x>\nSubject", 1)
    second = SECOND.replace("Subject", "Message-Id: <2@x>\nSubject", 1)
    anew = mail("[PATCH v2] second", headers="In-Reply-To: <2@x>\n", diff=OTHER)
    found = given(tmp_path, first + second + anew.replace("A 3", "A 4"))
    assert subjects(found) == ["first", "second"]
    assert "A 4" in found[1].text


def test_a_new_version_by_other_titles_in_the_same_thread(tmp_path: Path) -> None:
    old = mail("[PATCH] one", headers="Message-Id: <1@x>\n")
    new = mail("[PATCH v2] other", headers="Message-Id: <2@x>\nIn-Reply-To: <1@x>\n")
    assert subjects(given(tmp_path, old + new)) == ["other"]
    with pytest.raises(UserError, match=r"holds two series, .*\[PATCH\] one.*\[PATCH v2\] other"):
        given(tmp_path, old + new.replace("In-Reply-To: <1@x>\n", ""))


def test_a_newest_version_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="v2 of the series lacks patch 1"):
        given(tmp_path, FIRST + SECOND + mail("[PATCH v2 2/2] second", diff=OTHER))


def test_a_patch_sent_anew_in_answer_to_its_first_version_takes_its_place(tmp_path: Path) -> None:
    """As b4 does with a partial reroll."""
    first = mail("[PATCH 1/2] one", headers="Message-Id: <1@x>\n")
    second = mail("[PATCH 2/2] two", diff=OTHER, headers="Message-Id: <2@x>\n")
    answers = "Message-Id: <3@x>\nIn-Reply-To: <2@x>\n"
    again = mail("[PATCH v2 2/2] two", diff=OTHER.replace("A 3", "A 4"), headers=answers)
    found = given(tmp_path, first + second + again)
    assert [item.subject for item in found] == ["one", "two"]
    assert "A 4" in found[1].text
    notes = " ".join(found[0].notes)
    assert "taken as of v1: `[PATCH 1/2] one`" in notes
    assert "left out v1, which v2 replaces: `[PATCH 2/2] two`" in notes
    assert "replaces: `[PATCH 1/2] one`" not in notes


def test_a_series_that_lacks_a_patch_is_said(tmp_path: Path) -> None:
    found = given(tmp_path, mail("[PATCH 1/3] first") + mail("[PATCH 3/3] third", diff=OTHER))
    assert subjects(found) == ["first", "third"]
    assert "lacks patch 2" in found[0].notes[0]
    assert given(tmp_path, SECOND)[0].notes == ()  # one mail of a series, as people give it


def test_a_copy_is_taken_once_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    found = given(tmp_path, FIRST + SECOND + FIRST)
    assert subjects(found) == ["first", "second"]
    assert "left out a copy" in found[0].notes[0]
    with pytest.raises(UserError, match="which one is meant"):
        given(tmp_path, FIRST + mail("[PATCH 1/2] first", diff=OTHER) + SECOND)


def test_two_series_in_one_file_are_refused(tmp_path: Path) -> None:
    third = mail("[PATCH 2/3] of another", diff=OTHER)
    with pytest.raises(UserError, match="holds two series"):
        given(tmp_path, FIRST + third)


def test_an_answer_alone_is_what_was_meant(tmp_path: Path) -> None:
    assert subjects(given(tmp_path, REPLY)) == ["second"]


def test_patches_without_numbers_keep_their_order(tmp_path: Path) -> None:
    found = given(tmp_path, mail("[PATCH] b") + mail("[PATCH] a", diff=OTHER))
    assert subjects(found) == ["b", "a"]


def test_a_cover_letter_among_the_files_is_passed_over(tmp_path: Path) -> None:
    paths = []
    for name, text in (("0000", mail("[PATCH 0/2] both", diff="")), ("1", FIRST), ("2", SECOND)):
        paths.append(tmp_path / name)
        paths[-1].write_text(text)
    found = read(paths)
    assert subjects(found) == ["first", "second"]
    assert "0000: left out the cover letter" in found[0].notes[0]
    with pytest.raises(UserError, match="none of its 1 mails holds a diff"):
        read(paths[:1])


def test_mails_of_a_list_s_archive_quote_from_lines(tmp_path: Path) -> None:
    start = "From mboxrd@z Thu Jan  1 00:00:00 1970\n"
    first = mail("[PATCH 1/2] first", ">From here on\n", start=start)
    found = given(tmp_path, first + mail("[PATCH 2/2] second", diff=OTHER, start=start))
    assert subjects(found) == ["first", "second"]
    assert "\nFrom here on" in "\n" + found[0].message


def test_an_attached_patch_is_read(tmp_path: Path) -> None:
    data = (
        "From: T <t@example.com>\nSubject: [PATCH] x\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nsee it\n'
        '--b\nContent-Type: application/octet-stream; name="x.patch"\n'
        f'Content-Disposition: attachment; filename="x.patch"\n\n{DIFF}\n--b--\n'
    )
    (patch,) = given(tmp_path, data)
    assert (patch.subject, patch.paths) == ("x", ("mm/cma.c",))


def test_a_mailbox_is_read_confined(tmp_path: Path) -> None:
    try:
        confine.find()
    except NoMeans as error:
        pytest.skip(str(error).partition("\n")[0])
    data = mail("[PATCH 1/2] mm/cma: change A") + mail("[PATCH 2/2] mm/b: change A", diff=OTHER)
    assert [patch.paths for patch in given(tmp_path, data)] == [("mm/cma.c",), ("mm/b.c",)]


@pytest.mark.parametrize("words", ["[ ", "[v1,", "[PATCH ", "] [", "1/", "re: "])
def test_a_subject_without_end_takes_no_time(tmp_path: Path, words: str) -> None:
    (patch,) = given(tmp_path, mail(words * 50_000))
    assert patch.paths == ("mm/cma.c",)


def test_a_line_without_end_takes_no_time(tmp_path: Path) -> None:
    for line in ("*** " + "x" * 200_000, "+++ " + " " * 200_000 + "x", "> " * 100_000):
        with pytest.raises(UserError):
            given(tmp_path, f"{line}\nend\n")


def test_a_mailbox_of_a_whole_list_is_refused_before_it_is_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than 2000 mails: give one thread"):
        given(tmp_path, mail("[PATCH] x", diff="") * 2001)
