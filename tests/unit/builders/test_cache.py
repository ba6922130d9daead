# SPDX-License-Identifier: MIT
"""The cache: built once, visible whole or not at all, never taken from under a user."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.builders import cache as cache_module
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.manifest import MANIFEST, damaged_files, disk_size
from harness.errors import UserError
from harness.host.integrity import SEAL
from harness.host.locking import FileLock

KEY = Key("thing", {"source": "1"})


def write_thing(build_dir: BuildDirectory) -> None:
    (build_dir.out / "thing").write_text("made")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def child(root: Path, body: str) -> subprocess.Popen[str]:
    """A process with `cache`, `KEY` and a build that is `body`, which says `building`."""
    code = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from harness.builders.cache import Cache, Key, BuildDirectory
        cache = Cache(Path(sys.argv[1]), say=lambda text: print(text, flush=True))
        KEY = Key("thing", {"source": "1"})
        def build(build_dir):
            print("building", flush=True)
            (build_dir.out / "thing").write_text("half")
            BODY
            (build_dir.out / "thing").write_text("made")
        print("got", cache.entry(KEY, build), flush=True)
        sys.stdin.readline()
        """
    ).replace("BODY", body)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def release_all() -> None:
    """What the end of this process would do: gives up all leases."""
    for lease in cache_module._LEASES.values():
        lease.close()
    cache_module._LEASES.clear()


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "entries").glob("*"))


def test_the_second_call_does_not_build(cache: Cache) -> None:
    assert (cache.entry(KEY, write_thing) / "thing").read_text() == "made"

    def never(build_dir: BuildDirectory) -> None:
        raise AssertionError("built again")

    assert Cache(cache.root).entry(KEY, never) == cache.find(KEY)


def test_another_input_is_another_entry(cache: Cache) -> None:
    first = cache.entry(KEY, write_thing)
    other = Key("thing", {"source": "2"})
    assert cache.why(other) == "changed since the last build: source"
    assert cache.entry(other, write_thing) != first
    assert cache.why(Key("stranger", {})) == "not in the cache"


def test_the_manifest_says_what_went_in(cache: Cache) -> None:
    path = cache.entry(KEY, write_thing)
    content = json.loads((path / MANIFEST).read_text())
    assert content["inputs"] == {"source": "1"}
    assert content["size"] >= 4
    assert [entry.slug for entry in cache.ls()] == [KEY.slug]


def test_a_failed_build_leaves_nothing(cache: Cache) -> None:
    def fail(build_dir: BuildDirectory) -> None:
        write_thing(build_dir)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.entry(KEY, fail)
    assert visible(cache.root) == []
    assert list((cache.root / "tmp").iterdir()) == []
    assert (cache.entry(KEY, write_thing) / "thing").exists()


def test_an_interrupted_build_leaves_nothing_and_says_what_takes_the_time(tmp_path: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "cache", said.append)

    def interrupt(build_dir: BuildDirectory) -> None:
        write_thing(build_dir)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry(KEY, interrupt)
    assert list((cache.root / "tmp").iterdir()) == []
    assert said == ["removing the unfinished thing (interrupt again: the next build does)"]


def test_temporary_files_are_no_part_of_the_entry(cache: Cache) -> None:
    def build(build_dir: BuildDirectory) -> None:
        write_thing(build_dir)
        (build_dir.tmp / "scrap").write_text("x")

    path = cache.entry(KEY, build)
    assert sorted(item.name for item in path.iterdir()) == [SEAL, MANIFEST, "thing"]
    assert list((cache.root / "tmp").iterdir()) == []


def test_two_at_once_build_once_and_the_waiter_says_for_whom(cache: Cache, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    first = child(cache.root, body)
    try:
        assert line(first) == "building"
        assert visible(cache.root) == []
        second = child(cache.root, body)
        try:
            assert line(second) == f"waiting for process {first.pid}, which builds thing"
            gate.touch()
            path = f"got {cache.root}/entries/{KEY.slug}"
            assert line(first) == path
            assert line(second) == path
        finally:
            end(second)
    finally:
        end(first)


def test_after_sigkill_nothing_is_visible_and_the_next_builds(cache: Cache) -> None:
    victim = child(cache.root, "time.sleep(60)")
    assert line(victim) == "building"
    end(victim)
    assert visible(cache.root) == []
    assert len(list((cache.root / "tmp").iterdir())) == 1
    assert (cache.entry(KEY, write_thing) / "thing").read_text() == "made"
    assert list((cache.root / "tmp").iterdir()) == []


def test_debris_of_other_keys_is_swept_but_not_work_in_progress(cache: Cache) -> None:
    victim = child(cache.root, "time.sleep(60)")
    try:
        assert line(victim) == "building"
        cache.entry(Key("other", {}), write_thing)
        assert len(list((cache.root / "tmp").iterdir())) == 1
        end(victim)
        cache.entry(Key("another", {}), write_thing)
        assert list((cache.root / "tmp").iterdir()) == []
    finally:
        end(victim)


def test_tools_that_outlive_their_builder_keep_the_lock(cache: Cache) -> None:
    body = (
        "import subprocess; "
        "p = subprocess.Popen(['sleep', '60'], pass_fds=[build_dir.lock_fd], stdin=-3, stdout=-3); "
        "print(p.pid, flush=True); p.wait()"
    )
    victim = child(cache.root, body)
    assert line(victim) == "building"
    orphan = int(line(victim))
    end(victim)
    with FileLock(cache.root / "locks" / f"{KEY.slug}.lock") as lock:
        assert not lock.try_exclusive()
        os.kill(orphan, signal.SIGKILL)
        lock.exclusive()


def test_prune_spares_what_a_process_uses(cache: Cache) -> None:
    user = child(cache.root, "pass")
    try:
        assert line(user) == "building"
        path = Path(line(user).removeprefix("got "))
        removed, in_use = cache.prune()
        assert removed == []
        assert [entry.path for entry in in_use] == [path]
        assert path.exists()
    finally:
        end(user)
    removed, in_use = cache.prune()
    assert [entry.path for entry in removed] == [path]
    assert in_use == []
    assert not path.exists()
    assert list((cache.root / "locks").iterdir()) == []


def test_prune_goes_by_last_use(cache: Cache) -> None:
    path = cache.entry(KEY, write_thing)
    release_all()
    long_ago = time.time() - 10 * 86400
    os.utime(path / MANIFEST, (long_ago, long_ago))
    assert cache.prune(older_than=11 * 86400) == ([], [])
    # A use makes it young again.
    cache.entry(KEY, write_thing)
    release_all()
    assert cache.prune(older_than=9 * 86400) == ([], [])
    assert cache.prune(older_than=None, keep={KEY.slug}) == ([], [])
    assert [entry.path for entry in cache.prune(older_than=None)[0]] == [path]


def test_a_lock_file_that_was_removed_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as old, FileLock(path) as late:
        old.exclusive()
        old.remove()
        old.close()
        with FileLock(path) as new:
            # There is a file again, and it is not the one that `late` has open.
            assert not late.try_exclusive()
            new.shared()
            late.shared()
            assert not new.try_exclusive()


def test_a_hand_damaged_entry_is_built_again(cache: Cache) -> None:
    path = cache.entry(KEY, write_thing)
    (path / MANIFEST).unlink()
    (path / "thing").write_text("damaged")
    release_all()
    assert (cache.entry(KEY, write_thing) / "thing").read_text() == "made"


def test_too_little_room_is_said_before_the_build(cache: Cache) -> None:
    with pytest.raises(UserError, match=r"MiB free, and building thing takes about") as caught:
        cache.entry(KEY, write_thing, needs=2**62)
    assert str(cache.root) in str(caught.value)
    assert "HARNESS_CACHE" in str(caught.value)
    assert "cache prune" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_the_users_to_mend(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    try:

        def fill(build_dir: BuildDirectory) -> None:
            (build_dir.out / "big").write_bytes(bytes(4 * 2**20))

        cache = Cache(small / "cache")
        with pytest.raises(UserError, match="no space left for the cache") as caught:
            cache.entry(KEY, fill)
        assert str(cache.root) in str(caught.value)
        assert list((cache.root / "tmp").iterdir()) == []
        assert visible(cache.root) == []
        # What was there before is there after.
        assert (cache.entry(KEY, write_thing) / "thing").exists()
        release_all()
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        assert cache.entry(KEY, write_thing) == cache.find(KEY)
        with pytest.raises(UserError, match="cannot be written"):
            cache.entry(Key("new", {}), write_thing)
    finally:
        release_all()
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_explained(cache: Cache, number: int) -> None:
    def fail(build_dir: BuildDirectory) -> None:
        write_thing(build_dir)
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match="no space left"):
        cache.entry(KEY, fail)
    assert list((cache.root / "tmp").iterdir()) == []


def test_an_error_elsewhere_is_not_blamed_on_the_cache(cache: Cache) -> None:
    def fail(build_dir: BuildDirectory) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/file")

    with pytest.raises(PermissionError, match="elsewhere"):
        cache.entry(KEY, fail)


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(UserError, match="is not a directory"):
        Cache(path).entry(KEY, write_thing)
    assert path.read_text() == "x"


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "here"))
    assert cache_module.cache_root() == tmp_path / "here"
    assert not (tmp_path / "here").exists()


def test_disk_size_counts_a_hard_link_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 8192)
    once = disk_size(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert disk_size(tmp_path) == once
    shutil.copy(tmp_path / "a", tmp_path / "c")
    assert disk_size(tmp_path) == 2 * once


def test_a_place_where_nothing_can_be_made_is_said_to_be_so() -> None:
    with pytest.raises(UserError, match="/proc/nowhere cannot be written"):
        Cache(Path("/proc/nowhere")).directory("locks")


class TestDamage:
    """What a bad disk or a wrong hand did to an entry is made again, and said."""

    @pytest.fixture
    def said(self, cache: Cache) -> list[str]:
        found: list[str] = []
        cache.say = found.append
        return found

    def made(self, cache: Cache, times: list[int]) -> Path:
        def build(build_dir: BuildDirectory) -> None:
            times.append(1)
            write_thing(build_dir)
            (build_dir.out / "other").write_bytes(bytes(5000))

        path = cache.entry(KEY, build)
        release_all()
        return path

    @pytest.mark.parametrize("name", ["thing", "other", MANIFEST])
    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_a_cut_file_is_made_again(
        self, cache: Cache, said: list[str], name: str, length: int
    ) -> None:
        times: list[int] = []
        path = self.made(cache, times)
        os.truncate(path / name, length)
        assert self.made(cache, times) == path
        assert len(times) == 2
        assert (path / "thing").read_text() == "made"
        assert said == [f"{path.name} in the cache is damaged ({name}): it is made again"]

    def test_a_flipped_byte_is_found_and_an_untouched_entry_taken(
        self, cache: Cache, said: list[str]
    ) -> None:
        times: list[int] = []
        path = self.made(cache, times)
        self.made(cache, times)
        assert (len(times), said) == (1, [])
        (path / "thing").write_text("mads")
        self.made(cache, times)
        assert len(times) == 2

    def test_damage_without_a_trace_is_found_before_anybody_is_blamed(self, cache: Cache) -> None:
        times: list[int] = []
        path = self.made(cache, times)
        info = (path / "thing").stat()
        (path / "thing").write_text("mads")
        os.utime(path / "thing", ns=(info.st_atime_ns, info.st_mtime_ns))
        cache.entry(KEY, write_thing)
        assert cache.damaged() == [f"{path.name}: thing"]
        assert cache.damaged() == [], "it is no entry any more"
        self.made(cache, times)
        assert len(times) == 2
        assert cache.damaged() == []

    def test_the_damaged_among_some_files(self, cache: Cache, tmp_path: Path) -> None:
        path = self.made(cache, [])
        (tmp_path / "link").symlink_to(path / "thing")
        assert damaged_files([tmp_path / "link", path / "other", Path("/etc/hostname")]) == []
        (path / "other").write_bytes(b"x")
        assert damaged_files([tmp_path / "link"]) == [], "it was not asked for"
        assert damaged_files([path / "thing", path / "other"]) == [f"{path.name}: other"]
        assert not (path / MANIFEST).exists()

    def test_of_many_files_only_the_named_are_looked_at_each_time(
        self, cache: Cache, said: list[str]
    ) -> None:
        def build(build_dir: BuildDirectory) -> None:
            write_thing(build_dir)
            (build_dir.out / "other").write_text("other")

        path = cache.entry(KEY, build, checked=["thing", "none"])
        release_all()
        (path / "other").write_text("wrong")
        cache.entry(KEY, build, checked=["thing"])
        assert said == []
        assert cache.damaged() == [f"{path.name}: other"]

    def test_an_entry_of_an_older_harness_is_taken(self, cache: Cache, said: list[str]) -> None:
        times: list[int] = []
        path = self.made(cache, times)
        content = json.loads((path / MANIFEST).read_text())
        del content["files"]
        (path / MANIFEST).write_text(json.dumps(content))
        (path / "digests.json").unlink()
        self.made(cache, times)
        assert (len(times), said, cache.damaged()) == (1, [], [])


class TestOwnership:
    """A cache directory is ours, or nothing in it is touched."""

    @pytest.fixture
    def precious(self, tmp_path: Path) -> Path:
        place = tmp_path / "home"
        for name in ("tmp/letter", "logs/today", "apt/x", "notes"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)
        return place

    def test_somebody_else_s_directory_is_refused_and_stays(self, precious: Path) -> None:
        cache = Cache(precious)
        for use in (
            lambda: cache.entry(KEY, write_thing),
            lambda: cache.prune(),
            lambda: cache.prune_help(),
            lambda: cache.sweep(),
        ):
            with contextlib.suppress(UserError):
                use()
        with pytest.raises(UserError, match="is no cache of this harness"):
            cache.entry(KEY, write_thing)
        files = sorted(str(p.relative_to(precious)) for p in precious.rglob("*") if p.is_file())
        assert files == ["apt/x", "logs/today", "notes", "tmp/letter"]

    def test_compiled_modules_that_came_first_do_not_make_it_somebody_else_s(
        self, tmp_path: Path
    ) -> None:
        place = tmp_path / "new"
        (place / cache_module.COMPILED / "harness").mkdir(parents=True)
        cache = Cache(place)
        assert cache.entry(KEY, write_thing).is_dir()
        (place / "notes").write_text("notes")
        assert cache.entry(KEY, write_thing).is_dir()

    def test_only_our_own_work_in_progress_is_swept(self, cache: Cache) -> None:
        tmp = cache.directory("tmp")
        for name in ("letter", "thing-0123456789abcdef.xyz", "thing-0123456789abcdef"):
            (tmp / name).mkdir()
        cache.sweep()
        assert sorted(p.name for p in tmp.iterdir()) == ["letter", "thing-0123456789abcdef"]

    def test_what_killed_builds_left_is_swept_at_the_next_start(self, cache: Cache) -> None:
        left = cache.directory("tmp") / "other-0123456789abcdef.xyz"
        left.mkdir()
        cache_module._SWEPT.clear()
        cache.entry(KEY, write_thing)
        assert not left.exists()

    def test_a_cache_of_an_older_harness_is_taken(self, tmp_path: Path) -> None:
        for name in ("entries", "locks", "tmp", "apt"):
            (tmp_path / name).mkdir()
        Cache(tmp_path).entry(KEY, write_thing)
        assert (tmp_path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f59")

    def test_another_user_s_is_told_with_its_owner(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.directory("locks")
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        error = cache.explain(PermissionError(errno.EACCES, "Permission denied", str(cache.root)))
        assert isinstance(error, UserError)
        assert "it belongs to root, and each user has one" in str(error) or os.getuid() != 0


def test_a_cache_that_another_process_makes_at_this_moment_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path.iterdir

    def made_meanwhile(path: Path) -> object:
        (path / "CACHEDIR.TAG").write_text("")
        return there(path)

    monkeypatch.setattr(Path, "iterdir", made_meanwhile)
    cache = Cache(tmp_path / "cache")
    assert cache.directory("locks").is_dir()


def test_what_only_saves_time_is_removed_and_what_was_found_stays(cache: Cache) -> None:
    for name in ("pycache", "sequences"):
        (cache.directory(name) / "file").write_text("x")
    cache.prune_help()
    assert not (cache.root / "pycache").exists()
    assert (cache.root / "sequences" / "file").exists()
