# SPDX-License-Identifier: MIT
"""The cache is read in a process of its own, and nothing is missed by that."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.manifest import MANIFEST
from harness.gate.cachecheck import CacheCheck

THINGS = (Key("one", {}), Key("two", {}))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def made(cache: Cache, key: Key) -> Path:
    def build(build_dir: BuildDirectory) -> None:
        (build_dir.out / "thing").write_text("made")

    return cache.entry(key, build)


def spoil(path: Path) -> None:
    """By a byte, and without a trace in size and time."""
    info = (path / "thing").stat()
    (path / "thing").write_text("mads")
    os.utime(path / "thing", ns=(info.st_atime_ns, info.st_mtime_ns))


def test_damage_is_found(cache: Cache, tmp_path: Path) -> None:
    path, sound = (made(cache, key) for key in THINGS)
    spoil(path)
    with CacheCheck(cache, tmp_path / "log") as check:
        check.begin()
        assert check.damaged() == [f"{path.name}: thing"]
    assert cache.find(THINGS[0]) is None, "it is made again when it is asked for"
    assert cache.find(THINGS[1]) == sound
    assert not (tmp_path / "log").exists()


def test_what_is_taken_after_its_begin_is_read_too(cache: Cache, tmp_path: Path) -> None:
    made(cache, THINGS[0])
    with CacheCheck(cache, tmp_path / "log") as check:
        check.begin()
        path = made(cache, THINGS[1])
        spoil(path)
        assert check.damaged() == [f"{path.name}: thing"]


@pytest.mark.parametrize("begun", [True, False])
def test_without_a_word_of_the_process_all_is_read_here(
    cache: Cache, tmp_path: Path, begun: bool
) -> None:
    path = made(cache, THINGS[0])
    spoil(path)
    with CacheCheck(cache, tmp_path / "log") as check:
        if begun:
            check.begin()
            assert check._process is not None
            check._process.kill()
        assert check.damaged() == [f"{path.name}: thing"]


def test_it_is_ended_with_its_block(cache: Cache, tmp_path: Path) -> None:
    made(cache, THINGS[0])
    with CacheCheck(cache, tmp_path / "log") as check:
        check.begin()
        process = check._process
    assert process is not None
    assert process.poll() is not None


@pytest.mark.parametrize(
    "said",
    [
        "ld.so: object 'none.so' cannot be preloaded\n{answer}",
        "{answer}",
        "no answer",
        "[]",
        "",
    ],
)
def test_what_else_is_said_loses_nothing(cache: Cache, tmp_path: Path, said: str) -> None:
    path = made(cache, THINGS[0])
    spoil(path)
    with CacheCheck(cache, tmp_path / "log") as check:
        check.begin()
        assert check._process is not None
        assert check._process.wait() == 0
        assert (path / MANIFEST).exists(), "it only reads"
        log = tmp_path / "log"
        log.write_text(said.replace("{answer}", log.read_text()))
        assert check.damaged() == [f"{path.name}: thing"]


def test_nobody_waits_long_for_it(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.gate.cachecheck._WAIT", 0.0)
    path = made(cache, THINGS[0])
    spoil(path)
    with CacheCheck(cache, tmp_path / "log") as check:
        check.begin()
        assert check._process is not None
        check._process.send_signal(signal.SIGSTOP)
        assert check.damaged() == [f"{path.name}: thing"]
