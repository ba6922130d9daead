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
