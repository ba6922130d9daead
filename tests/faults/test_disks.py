# SPDX-License-Identifier: MIT
"""No room on the disk: one line, exit status 3 or 2, nothing lost and nothing half written."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.builders.cache import Cache
from harness.errors import HarnessError
from harness.host.files import write_texts
from harness.host.project import PYTHON_PATH
from harness.imageset.model import ImageSet
from harness.machine.transcript import Transcript
from harness.nightly.database import Database
from tests.faults.test_kills import KEYS
from tests.unit.nightly.fake import add_night, job, with_test

GATE = """\
import sys
from pathlib import Path
from harness.gate.report import write_all
from harness.host.command import run_command
from tests.unit.gate.report import samples

def work():
    result = samples.rejected() if sys.argv[2] == "rejected" else samples.accepted()
    write_all(result, Path(sys.argv[1]))
    return result.decision.exit_status

sys.exit(run_command(work))
"""
NIGHT = """\
import sys
from pathlib import Path
from harness.host.command import run_command
from tests.unit.nightly.fake import add_night, job, with_test

def work():
    results = [with_test("passed", message="x" * 8000) for _ in range(50)]
    add_night(Path(sys.argv[1]), sys.argv[2], {job(str(n)): [r] for n, r in enumerate(results)})
    return 0

sys.exit(run_command(work))
"""
BUILD = """\
import sys
from pathlib import Path
from harness.builders.cache import Cache
from harness.errors import HarnessError
from harness.host.command import run_command
from tests.faults.test_kills import KEYS, build

def work():
    for key in KEYS:
        Cache(Path(sys.argv[1])).entry(key, build)
    return 0

sys.exit(run_command(work))
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def limited(size: int) -> Callable[[], None]:
    """Lets no file of a child grow beyond a size: as on a full disk, in the middle of a write."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def run(program: str, *words: str, size: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program with files of `size` bytes at most."""
    # What measures the coverage of Python has files of its own to write, and complains.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**kept, "PYTHONPATH": str(PYTHON_PATH), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limited(size) if size is not None else None,
        capture_output=True,
        text=True,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> None:
    """It ended as it should where there is no room."""
    assert done.returncode in (2, 3), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB; for root only."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class TestReports:
    def test_a_verdict_that_cannot_be_written_leaves_the_last_one(
        self, tmp_path: Path, rounds: int, chance: random.Random
    ) -> None:
        assert run(GATE, str(tmp_path), "accepted").returncode == 0
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for _ in range(rounds):
            told(run(GATE, str(tmp_path), "rejected", size=chance.randrange(200, 5000)))
            now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
            now.pop(".harness-output"), before.pop(".harness-output", None)
            assert now == before

    def test_on_a_full_disk_too(self, small_disk: Path) -> None:
        assert run(GATE, str(small_disk), "accepted").returncode == 0
        before = (small_disk / "result.json").read_bytes()
        fill(small_disk)
        told(run(GATE, str(small_disk), "rejected"))
        assert (small_disk / "result.json").read_bytes() == before

    def test_several_files_are_changed_together_or_not_at_all(self, small_disk: Path) -> None:
        write_texts(small_disk, {"a": "old", "b": "old"})
        with pytest.raises(OSError, match="No space left"):
            write_texts(small_disk, {"a": "new", "b": "x" * 1_000_000})
        assert [(small_disk / name).read_text() for name in "ab"] == ["old", "old"]
        assert sorted(path.name for path in small_disk.iterdir()) == ["a", "b"]


def fill(place: Path) -> None:
    """Leaves no room."""

    def write() -> None:
        with (place / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    with pytest.raises(OSError, match="No space left"):
        write()


class TestCache:
    def test_a_build_without_room_leaves_nothing_half_done(
        self, tmp_path: Path, rounds: int, chance: random.Random
    ) -> None:
        root = tmp_path / "cache"
        for _ in range(rounds):
            told(run(BUILD, str(root), size=chance.randrange(100, 15_000)))
            assert all(len(list(entry.path.iterdir())) == 22 for entry in Cache(root).ls())
            assert list((root / "tmp").iterdir()) == []
        assert run(BUILD, str(root)).returncode == 0
        assert len(Cache(root).ls()) == len(KEYS)

    def test_on_a_full_disk_too(self, small_disk: Path) -> None:
        fill(small_disk)
        done = run(BUILD, str(small_disk / "cache"))
        assert done.returncode == 2
        assert "no space left for the cache" in done.stderr
        (small_disk / "full").unlink()
        Cache(small_disk / "cache").entry(KEYS[0], lambda build_dir: None)


class TestNights:
    def test_a_night_without_room_keeps_those_before(
        self, tmp_path: Path, rounds: int, chance: random.Random
    ) -> None:
        path = tmp_path / "nights"
        add_night(path, "first", {job(): [with_test("passed")]})
        size = path.stat().st_size
        for number in range(rounds):
            told(run(NIGHT, str(path), f"n{number}", size=size + chance.randrange(4096, 100_000)))
            with Database(path) as database:
                assert database.row("PRAGMA integrity_check")[0] == "ok"  # type: ignore[index]
                rows = database.rows("SELECT status FROM jobs WHERE night = 'first'")
                assert [row["status"] for row in rows] == ["passed"]


class TestTranscripts:
    def test_what_cannot_be_kept_is_told_once_and_stops_no_machine(self, small_disk: Path) -> None:
        transcript = Transcript(small_disk / "machine")
        stream = transcript.stream("ttyAMA0")
        stream.append(b"before\n")
        transcript.check()
        fill(small_disk)
        for _ in range(3):
            stream.append(b"x" * 5000 + b"\n")
        assert stream.text().endswith("x\n")
        with pytest.raises(HarnessError, match=r"cannot keep the console in .*: .*No space left"):
            transcript.check()
        transcript.close()

    def test_a_terminal_that_is_gone_stops_no_machine(self) -> None:
        with Path("/dev/full").open("w") as full:
            transcript = Transcript(None, full)
            stream = transcript.stream("ttyAMA0")
            for _ in range(3):
                stream.append(b"x\n")
            transcript.check()
            with contextlib.suppress(OSError):
                full.close()


def test_a_main_job_without_room_is_one_line(small_disk: Path, image_set: ImageSet) -> None:
    fill(small_disk)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "--output", str(small_disk / "out")],
        env={**os.environ, "PYTHONPATH": str(PYTHON_PATH)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert image_set.release
    assert done.returncode == 3, done.stderr
    said = done.stderr.splitlines()
    assert [line for line in said if line.startswith("error: ")] == said[-1:], done.stderr
    assert "No space left" in said[-1]
