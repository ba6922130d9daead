# SPDX-License-Identifier: MIT
"""The harness is killed at any moment: nothing runs on, nothing is half there, the next run works.

``tests/qemu/test_lifecycle.py`` does the same to templates and clones.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.builders.cache import _SWEPT, BuildDirectory, Cache, Key
from harness.host.integrity import damage, read_seal
from harness.host.project import PYTHON_PATH
from harness.machine.process import MARK

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


def killed(program: str, *words: str, after: float, by: signal.Signals) -> int:
    """Runs a program and ends it `after` seconds past its first line; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(PYTHON_PATH)}
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
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


def processes_of(session: str) -> list[str]:
    """What still runs of the harness that had this word in its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"FAULT={session}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return [line for line in found if line.strip()]


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("image_set")
def test_the_main_job_killed_at_any_moment_leaves_nothing_and_works_the_next_time(
    tmp_path: Path, rounds: int, chance: random.Random
) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "harness", "run", "--artifacts", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(PYTHON_PATH)}
    environment.pop(MARK, None)
    for number in range(rounds):
        word = f"{os.getpid()}-{number}"
        with subprocess.Popen(
            command,
            env={**environment, "FAULT": word},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            time.sleep(chance.uniform(0.2, 6))
            by = chance.choice(SIGNALS)
            process.send_signal(by)
            _, said = process.communicate(timeout=120)
        assert "Traceback" not in said
        allowed = {0, -by, 128 + by}
        assert process.returncode in allowed, (process.returncode, said)
        end = time.monotonic() + 20
        while processes_of(word) and time.monotonic() < end:
            os.sched_yield()
        assert processes_of(word) == []
    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "pass"
