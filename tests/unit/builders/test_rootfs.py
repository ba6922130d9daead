# SPDX-License-Identifier: MIT
"""The initramfs: the archive format, and the manifest that describes it."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.builders import cpio
from harness.builders.cpio import Member
from harness.builders.rootfs import read_manifest
from harness.errors import UserError
from harness.host import project

FILE = stat.S_IFREG | 0o644
SAMPLE = [
    Member("dev", stat.S_IFDIR | 0o755),
    Member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
    Member("init", stat.S_IFLNK | 0o777, b"/bin/busybox"),
    Member("text", FILE, b"12345"),
    Member("empty", FILE),
]


def test_it_reads_back() -> None:
    assert list(cpio.members(cpio.archive(SAMPLE))) == SAMPLE


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(st.lists(st.tuples(names, st.binary(max_size=50)), max_size=8))
def test_any_names_and_contents_read_back(pairs: list[tuple[str, bytes]]) -> None:
    members = [Member(name, FILE, data) for name, data in pairs if name != "TRAILER!!!"]
    content = cpio.archive(members)
    assert len(content) % 512 == 0
    assert list(cpio.members(content)) == members


def test_it_is_the_same_each_time_and_belongs_to_root() -> None:
    content = cpio.archive(SAMPLE)
    assert content == cpio.archive(SAMPLE)
    # uid, gid and mtime of the first header (fields 3, 4 and 6 of 13).
    assert content[22:38] == b"0" * 16
    assert content[46:54] == b"0" * 8
    # Links of the directory: 2.
    assert content[38:46] == b"00000002"


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_agrees() -> None:
    done = subprocess.run(
        ["cpio", "-tv", "--quiet", "--numeric-uid-gid"],
        input=cpio.archive(SAMPLE),
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == [
        "drwxr-xr-x",
        "crw-------",
        "lrwxrwxrwx",
        "-rw-r--r--",
        "-rw-r--r--",
    ]
    assert lines[1].split()[4:6] == ["5,", "1"]
    assert lines[2].endswith("init -> /bin/busybox")
    assert lines[3].split()[4] == "5"


@pytest.mark.parametrize("cut", [0, 50, 120, 600])
def test_a_truncated_archive_is_an_error(cut: int) -> None:
    with pytest.raises(ValueError, match=r"newc header|ends inside"):
        list(cpio.members(cpio.archive(SAMPLE)[:cut]))


def test_our_manifest(tmp_path: Path) -> None:
    artefacts = {}
    for name in ("busybox", "agent", "app", "module", "calls", "dropbear"):
        artefacts[name] = tmp_path / name
        artefacts[name].write_text(name)
    artefacts["libraries"] = tmp_path / "lib"
    artefacts["libraries"].mkdir()
    (artefacts["libraries"] / "libc.so.6").write_text("libc")
    manifest = project.IMAGES / "rootfs" / "manifest.toml"
    members = {member.path: member for member in read_manifest(manifest, "6.1.0", artefacts)}
    assert members["dev/console"].device == (5, 1)
    assert members["dev/console"].mode == stat.S_IFCHR | 0o600
    assert members["lib/modules/6.1.0/extra/cma.ko"].data == b"module"
    assert members["usr/bin/CMA_area_app-0.0.1"].mode == stat.S_IFREG | 0o755
    assert members["init"].data == b"/bin/busybox"
    assert members["bin/sh"].data == b"busybox"
    assert b"/sbin/agent /dev/ttyAMA1" in members["etc/inittab"].data
    assert members["usr/sbin/dropbear"].data == b"dropbear"
    assert members["lib/arm-linux-gnueabihf/libc.so.6"].data == b"libc"
    assert members["lib/arm-linux-gnueabihf/libc.so.6"].mode == stat.S_IFREG | 0o755
    assert members["root/.ssh"].mode == stat.S_IFDIR | 0o700


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ('path = "/a/b"\ntype = "dir"\nmode = "0755"', "/a does not come before"),
        ('path = "/a"\ntype = "file"\nmode = "0644"\nsource = "gone"', "No such file"),
        ('path = "/a"\ntype = "file"\nmode = "0644"\nsource = "@gone"', "gone"),
        ('path = "/a"\ntype = "socket"', "unknown type 'socket'"),
        ('path = "/a"\ntype = "dir"\nmode = "9"', "invalid literal"),
        ('path = "/a"\ntype = "node"\nmode = "0600"\nnode = "c 5"', "not enough values"),
        ('path = "/a"\ntype = "dir"', "mode"),
    ],
)
def test_a_wrong_manifest_names_the_entry(tmp_path: Path, entry: str, complaint: str) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(f"[[entry]]\n{entry}\n")
    with pytest.raises(UserError, match=complaint) as caught:
        read_manifest(manifest, "6.1.0", {})
    assert "entry /a" in str(caught.value)


def test_a_path_given_twice(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text('[[entry]]\npath = "/a"\ntype = "dir"\nmode = "0755"\n' * 2)
    with pytest.raises(UserError, match="/a is there already"):
        read_manifest(manifest, "6.1.0", {})


def test_no_toml(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text("[[entry\n")
    with pytest.raises(UserError, match=r"manifest\.toml"):
        read_manifest(manifest, "6.1.0", {})
