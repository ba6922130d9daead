# SPDX-License-Identifier: MIT
"""The harness is killed at any moment: nothing runs on, nothing is half there, the next run works.

``tests/qemu/test_lifecycle.py`` does the same to templates and clones.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from harness.builders.cache import _SWEPT, BuildDirectory, Cache, Key
from harness.builders.watch import GROUPS, descendants, process_group, remove_group
from harness.host.integrity import damage, read_seal
from harness.host.locking import FileLock
from harness.host.project import IMAGES, PYTHON_PATH
from harness.machine.process import MARK
from harness.nightly.database import Database
from harness.pytest_plugin.session import Session

_PR_SET_CHILD_SUBREAPER = 36

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KEYS = [Key(f"thing-{n}", {"n": str(n)}) for n in range(4)]
BUILDER = """\
import os, sys
from pathlib import Path
from harness.builders.cache import Cache
from harness.host.command import run_command
from tests.faults.test_kills import KEYS, build

def work():
    print("ready", flush=True)
    cache = Cache(Path(sys.argv[1]))
    while True:
        for key in KEYS:
            cache.entry(key, build)
        cache.prune()

sys.exit(run_command(work))
"""
WRITER = """\
import sys
from pathlib import Path
from harness.host.files import write_texts

print("ready", flush=True)
number = 0
while True:
    number += 1
    write_texts(Path(sys.argv[1]), {"a": f"{number}" * 5000, "b": f"{number}" * 5000})
"""


def build(build_dir: BuildDirectory) -> None:
    """Takes some milliseconds, and leaves some files."""
    for number in range(20):
        (build_dir.out / f"file-{number}").write_bytes(bytes(number * 1000))
        (build_dir.tmp / f"scratch-{number}").write_bytes(bytes(1000))


def obey() -> None:
    """Whoever is started in the background of a shell, as we may be, ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def killed(program: str, *words: str, after: float, by: signal.Signals) -> int:
    """Runs a program and ends it `after` seconds past its first line; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(PYTHON_PATH)}
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=obey,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(after)  # the fault's own moment, not a wait for anything
        process.send_signal(by)
        return process.wait()


def test_a_cache_is_whole_whenever_its_builders_are_killed(
    tmp_path: Path, rounds: int, chance: random.Random
) -> None:
    root = tmp_path / "cache"
    for _ in range(5 * rounds):
        killed(BUILDER, str(root), after=chance.uniform(0, 0.4), by=chance.choice(SIGNALS))
        cache = Cache(root)
        for entry in cache.ls():
            known = read_seal(entry.path)
            assert known is not None
            assert damage(entry.path, known, wholly=True) == []
            assert len(known) == 20
        (root / "tmp").mkdir(exist_ok=True)
        _SWEPT.clear()
        cache._sweep_once()
        assert list((root / "tmp").iterdir()) == [], "what was left is swept at the next start"


def test_files_are_whole_whenever_their_writer_is_killed(
    tmp_path: Path, rounds: int, chance: random.Random
) -> None:
    for _ in range(5 * rounds):
        killed(WRITER, str(tmp_path), after=chance.uniform(0.05, 0.2), by=signal.SIGKILL)
        for name in ("a", "b"):
            text = (tmp_path / name).read_text()
            number = text[: len(text) // 5000]
            assert text == number * 5000


@pytest.fixture
def adopting() -> Iterator[None]:
    """What a killed process leaves running becomes our child (PR_SET_CHILD_SUBREAPER, prctl(2)):
    a confined process has nothing in its environment to know it by.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def left(before: set[int]) -> list[str]:
    """What runs below this process, and did not before; the dead are reaped."""
    found = []
    for pid in set(descendants(os.getpid(), 10_000)) - before - {os.getpid()}:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                os.waitpid(pid, os.WNOHANG)
            else:
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
    return [line for line in found if line.strip()]


def nothing_is_left(before: set[int]) -> None:
    """Waits for the end of what a killed harness had started."""
    end = time.monotonic() + 20
    while left(before) and time.monotonic() < end:
        os.sched_yield()
    assert left(before) == []


def groups() -> list[str]:
    """Control groups of harnesses that are gone."""
    names = [path.name for parent in GROUPS for path in parent.glob("harness-*-*")]
    return [name for name in names if not Path("/proc", name.split("-")[1]).exists()]


def debris(root: Path) -> list[str]:
    """Work in progress in a cache that nobody works at."""
    found = []
    for path in (root / "tmp").glob("*"):
        with FileLock(root / "locks" / f"{path.name.rpartition('.')[0]}.lock") as lock:
            if lock.try_exclusive():
                found.append(path.name)
    return found


class Command:
    """A command of the harness that is killed at some moment of its first `seconds`."""

    def __init__(self, seconds: float, *words: str) -> None:
        self.seconds = seconds
        self.argv = [sys.executable, "-m", "harness", *words]
        self.environment = {**os.environ, "PYTHONPATH": str(PYTHON_PATH)}
        self.environment.pop(MARK, None)

    def killed(self, chance: random.Random, allowed: Collection[int] = (0,)) -> None:
        """Kills it; it leaves nothing that runs, and says nothing of a fault of its own."""
        before = set(descendants(os.getpid(), 10_000))
        with subprocess.Popen(
            self.argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=obey,
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.1, self.seconds))
            by = chance.choice(SIGNALS)
            process.send_signal(by)
            _, said = process.communicate(timeout=180)
        # Python's own start may be interrupted too: that is not ours.
        assert "Traceback" not in said or "/harness/" not in said, said
        assert "fault of the harness" not in said
        assert process.returncode in {*allowed, -by, 128 + by}, (process.returncode, said)
        nothing_is_left(before)

    def whole(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end; nothing of those before it is there then."""
        done = subprocess.run(
            [*self.argv, *more],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert groups() == []
        return done


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("image_set", "adopting")
def test_the_main_job_killed_at_any_moment_leaves_nothing_and_works_the_next_time(
    tmp_path: Path, rounds: int, chance: random.Random
) -> None:
    command = Command(6, "run", "--output", str(tmp_path / "out"))
    for _ in range(rounds):
        command.killed(chance)
    done = command.whole("--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "pass"


QUICK = """\
tests/cma/test_main_job.py::TestApplication::test_what_it_gets_is_the_start_of_the_area
"""


def swapped() -> str:
    """A patch that swaps the two areas, and changes the application so that it is compiled."""
    found: list[str] = []
    for name in ("dts/multi-cma.dtsi", "app/common.c"):
        old = (IMAGES / name).read_text()
        new = old.replace("0x69000000", "@").replace("0x69800000", "0x69000000")
        new = new.replace("@", "0x69800000")
        if name.startswith("app"):
            new = f"{old}\n/* compiled again */\n"
        assert new != old
        before, after = (text.splitlines(keepends=True) for text in (old, new))
        path = f"images/{name}"
        found += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(found)


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("image_set", "adopting")
def test_a_gate_killed_at_any_moment_leaves_nothing_and_the_next_verdict_is_right(
    qemu_session: Session, tmp_path: Path, rounds: int, chance: random.Random
) -> None:
    (tmp_path / "x.patch").write_text(swapped())
    (tmp_path / "select.txt").write_text(QUICK)
    words = ("gate", str(tmp_path / "x.patch"), "--select", str(tmp_path / "select.txt"))
    command = Command(25, *words, "--output", str(tmp_path / "out"))
    for number in range(rounds):
        command.killed(chance, allowed=(1,))
        if number % 10 == 0:
            done = command.whole()
            assert done.returncode == 1, (done.stdout, done.stderr)
            assert "REJECTED" in done.stdout
            assert debris(qemu_session.cache) == []


MATRIX = """\
[[measure]]
kernels = ["{}"]
memory = [256, 512]
"""


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("image_set", "adopting")
def test_a_night_killed_at_any_moment_leaves_nothing_and_is_gone_on_with(
    tmp_path: Path, rounds: int, chance: random.Random, qemu_session: Session
) -> None:
    (tmp_path / "matrix.toml").write_text(MATRIX.format(qemu_session.versions[0]))
    path = tmp_path / "nights.sqlite"
    words = ("nightly", "run", "--matrix", str(tmp_path / "matrix.toml"), "--night", "n")
    command = Command(20, *words, "--database", str(path))
    for _ in range(rounds):
        command.killed(chance)
        if path.exists():
            with Database(path, create=True) as database:
                assert database.row("PRAGMA integrity_check")[0] == "ok"  # type: ignore[index]
    done = command.whole()
    assert done.returncode == 0, (done.stdout, done.stderr)
    with Database(path) as database:
        rows = database.rows("SELECT status FROM jobs WHERE night = 'n'")
    assert [row["status"] for row in rows] == ["passed", "passed"]


def test_control_groups_of_killed_builds_are_swept(tmp_path: Path) -> None:
    """A build whose harness is killed leaves its group; the next build removes it, and leaves one
    that is in use.
    """
    program = (
        "import os, signal, sys\n"
        "from harness.builders.watch import process_group\n"
        "group = process_group(10)\n"
        "print(group, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PYTHON_PATH)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.stdout.strip() == "None":
        pytest.skip("this user may make no control group")
    group = Path(done.stdout.strip())
    assert group.is_dir()
    ours = process_group(10)
    assert ours is not None
    assert not group.exists()
    again = process_group(10)
    assert ours.is_dir()
    remove_group(ours)
    remove_group(again)
