# SPDX-License-Identifier: MIT
"""Which files a diff changes, and which diffs are refused for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.builders.diff import first_diff, touched_files
from harness.errors import UserError

HUNK = "@@ -1 +1 @@\n-a\n+b\n"
NEW = "@@ -0,0 +1 @@\n+b\n"


def plain(old: str, new: str) -> str:
    return f"--- {old}\n+++ {new}\n{HUNK}"


def link(mode: str) -> str:
    return f"diff --git a/x b/x\nnew file mode {mode}\n--- /dev/null\n+++ b/x\n{NEW}"


def test_each_file_is_named_once() -> None:
    text = "--- a/x.c\t2020-01-01\n+++ b/x.c\t2020-01-02\n" + HUNK
    text += "--- /dev/null\n+++ b/y.c\n" + NEW
    assert touched_files(text + text, "p") == ["x.c", "y.c"]


def test_a_mail_around_it_and_a_header_like_line_in_it_change_nothing() -> None:
    text = "Subject: x\n\n--- a/none is said here\n\n" + "--- a/x.c\n+++ b/x.c\n"
    text += "@@ -1,2 +1,2 @@\n--- /etc\n+++ ../up\n"
    text = text.replace("--- /etc", "--- a/etc").replace("../up", "b/up")
    assert touched_files(text + " c\n-- \n2.39\n", "p") == ["x.c"]


def test_both_names_of_a_rename_are_named() -> None:
    text = "diff --git a/mm/a.c b/mm/b.c\nsimilarity index 100%\n"
    text += "rename from mm/a.c\nrename to mm/b.c\n"
    assert touched_files(text, "p") == ["mm/a.c", "mm/b.c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (plain("a/x", "/etc/passwd"), "p: `.*/etc/passwd`: an absolute path leaves"),
        (plain("a/../x", "b/x"), "p: `--- a/../x`: a path with .. leaves"),
        (plain("a/x/../../../y", "b/x/../../../y"), "leaves the tree"),
        (plain("a/.git/hooks/x", "b/.git/hooks/x"), "leaves the tree"),
        (link("120000"), "p: x is a symbolic link"),
        (link("160000"), "p: x is a submodule"),
        (
            "diff --git a/x b/x\nold mode 100644\nnew mode 120000\n",
            "p: x is a symbolic link",
        ),
        ("hello\n", "p is no unified diff"),
        ("", "p is no unified diff"),
        (plain("a/x", "b/x").replace("-1 +1", "-1,9 +1,9"), "p is no unified diff .*corrupt"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        touched_files(text, "p")


def test_bytes_that_are_no_text_do_not_matter() -> None:
    text = plain("a/x", "b/x").replace("+b", "+\udcff")
    assert touched_files(text, "p") == ["x"]


@pytest.mark.parametrize(
    "quoted", [plain("/tmp/before", "/tmp/after"), "--- /tmp/a\n+++ /tmp/b\nx\n"]
)
def test_a_diff_that_a_message_quotes_is_message(quoted: str) -> None:
    real = "diff --git a/x.c b/x.c\nindex 1..2 100644\n" + plain("a/x.c", "b/x.c")
    text = f"what changes:\n{quoted}\nas it should\n---\n x.c | 2 +-\n\n{real}"
    assert touched_files(text, "p") == ["x.c"]
    assert first_diff(text) == text.index("diff --git")


@pytest.mark.parametrize("text", ["", "hello\n", "--- a\n+++ b\n", "diff --git is a command\n"])
def test_where_there_is_no_diff(text: str) -> None:
    assert first_diff(text) is None


def test_paths_are_those_of_the_patch_wherever_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory of a repository git takes them from there."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    text = "--- a/mm/cma.c\n+++ b/mm/cma.c\n@@ -1 +1 @@\n-a\n+b\n"
    assert touched_files(text, "x.patch") == ["mm/cma.c"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("linux-6.1/mm/a.c", "linux-6.1/mm/a.c"),
        ("./mm/a.c", "./mm/a.c"),
        ("linux.orig/mm/a.c\t2022-12-11 23:15:18.0 +0100", "linux/mm/a.c\t2022-12-12 10:00:00.0"),
        ("a/mm/a.c.orig", "a/mm/a.c"),
    ],
)
def test_any_directory_before_the_tree_is_taken_off(old: str, new: str) -> None:
    assert touched_files(plain(old, new), "p") == ["mm/a.c"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mm/a.c.orig", "mm/a.c"),
        ("/dev/null", "drivers/net/a.c"),
        ("include/linux/cma.h\t(revision 1)", "include/linux/cma.h\t(working copy)"),
        ("a.c", "a.c"),
    ],
)
def test_names_that_begin_in_the_tree_get_a_hint(old: str, new: str) -> None:
    with pytest.raises(UserError, match=r"no a/ and b/ before them, so \S+\.[ch] would be"):
        touched_files(plain(old, new), "p")


GIT = "diff --git a/x b/x\nindex 1..2 100644\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"\x1b[1m{GIT}\x1b[m", "has terminal colours in it: use --no-color"),
        ("*** a/x\t2\n--- b/x\t2\n***************\n*** 1,2 ****\n", "is a context diff"),
        ("3c3\n< a\n---\n> b\n", "is a plain diff: use `diff -u`"),
        ("diff --cc x\nindex 1,2..3\n--- a/x\n+++ b/x\n@@@ -1 -1 +1 @@@\n", "of a merge"),
        ("".join(f"> {line}\n" for line in (GIT + HUNK).splitlines()), "is quoted or indented"),
        (f"{GIT}--- a/x\n+++ b/x\n", "is cut short: it names a file"),
        (f"{GIT}--- a/x\n+++ b/x\n{GIT}--- a/x\n+++ b/x\n{HUNK}", "is cut short"),
    ],
)
def test_what_is_taken_for_a_unified_diff_is_said_by_name(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        touched_files(text, "p")
    assert "\n" not in str(caught.value)
