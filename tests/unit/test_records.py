# SPDX-License-Identifier: MIT
"""Files that are no records, or damaged ones: the user's are refused, ours are as if missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.builders.apt import _pin_path, pinned, pinned_version
from harness.builders.cache import Cache
from harness.builders.kept_trees import kept_trees
from harness.cli.settings import read as read_settings
from harness.coverage.record import read as read_coverage
from harness.errors import UserError
from harness.explore.sequence import read as read_sequence
from harness.imageset.model import ImageSet
from harness.mutants.score import Sheet
from harness.nightly.matrix import read_matrix

EVIL = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"words"',
    b'{"schema": 1}',
    b'{"schema": 1, "kernel": 5, "mutants": [5], "operations": [5], "sources": [], "tests": 3}',
    b'{"schema": 1, "kernel": {}, "mutants": [], "operations": {}, "sources": [], "code": []}',
    b'{"kernel": 5, "dtb": [], "version": {}, "name": 3, "inputs": 4, "created": [], "size": "x"}',
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"a = " + b"[" * 200_000,
    bytes(range(256)) * 8,
    b"gr\xfc\xdfe\n",
]


@pytest.mark.parametrize("content", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize(
    "read",
    [
        ImageSet.read,
        read_coverage,
        read_sequence,
        read_matrix,
        read_settings,
        lambda path: Sheet.open(path, "6.1", {"mm/cma.c": "1"}, "t"),
    ],
)
def test_a_file_of_the_user_s_is_refused(
    read: Callable[[Path], object], content: bytes, tmp_path: Path
) -> None:
    if read is read_settings and not content:
        pytest.skip("nothing set is a setting")
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError):
        read(tmp_path / "x")


DAMAGED = [content for content in EVIL if len(content) < 10_000]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_record_of_ours_is_as_if_it_were_missing(content: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.offline = True
    for name in ("pins/linux.armhf.json", "trees/6.1/stamp.json", "entries/kernel-1/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert isinstance(pinned(cache), dict)
    (tmp_path / "pins/linux.armhf.json").rename(_pin_path(cache, "linux"))
    assert pinned_version(cache, "linux") is None
    assert [tree.path.name for tree in kept_trees(cache)] == ["6.1"]
    assert cache.ls() == []
