# SPDX-License-Identifier: MIT
"""The command line: exit statuses, messages, the cache's subcommands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.builders import imageset
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.manifest import MANIFEST
from harness.cli import app as cli
from harness.errors import BuildError, HarnessError, JudgementError, UserError
from harness.host.project import PYTHON_PATH
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return Cache()


def failing(error: BaseException) -> object:
    def build(*args: object, **options: object) -> ImageSet:
        raise error

    return build


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UserError("no such thing"), 2, "error: no such thing\n"),
        (BuildError("x.c:1:1: error: y"), 3, "error: x.c:1:1: error: y\n"),
        (HarnessError("odd"), 3, "error: odd\n"),
        (JudgementError("outside"), 1, "error: outside\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_one_message_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    text: str,
) -> None:
    monkeypatch.setattr(imageset, "build_image_set", failing(error))
    assert cli.main(["build"]) == status
    assert capsys.readouterr().err == text
    assert cli.main(["build", "--debug"]) == status
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_unwinds() -> None:
    code = """
import sys, time
from harness.cli import app as cli
from harness.builders import imageset
def build(*args, **options):
    try:
        print("building", flush=True)
        # Not one long sleep: a signal that comes just before its system call would not end it.
        for _ in range(1200):
            time.sleep(0.05)
    finally:
        print("cleaned", flush=True)
imageset.build_image_set = build
sys.exit(cli.main(["build"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (143, "cleaned\n", "terminated\n")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["cache"],
        ["run", "--memory", "32"],
        ["run", "--memory", "2048"],
        ["run", "--memory", "much"],
        ["run", "--kernel-version", "6.1", "--kernel-source", "x"],
        ["cache", "prune", "--older-than", "-1"],
        ["cache", "prune", "--older-than", "1", "--all"],
    ],
)
def test_wrong_options_exit_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    errors = capsys.readouterr().err
    assert "Usage:" in errors
    assert "Traceback" not in errors


def test_a_file_that_is_not_there_is_told_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imageset, "build_image_set", failing(AssertionError("built")))
    assert cli.main(["run", "--dtb", "/no/such.dtb"]) == 2
    assert capsys.readouterr().err == "error: --dtb /no/such.dtb: no such file\n"


def test_build_prints_the_paths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[object] = []

    def build(kernel: object, variant: str = "", **_recipe: object) -> ImageSet:
        asked.append(kernel)
        return ImageSet(
            Path("/z"),
            Path("/d"),
            release="6.1.0",
            features=frozenset({Feature.SSH, Feature.AGENT}),
        )

    monkeypatch.setattr(imageset, "build_image_set", build)
    assert cli.main(["build", "--kernel-source", str(tmp_path)]) == 0
    assert cli.main(["build", "--kernel", "6.12"]) == 0
    assert cli.main(["build"]) == 0
    assert asked == [tmp_path, "6.12", None]
    lines = capsys.readouterr().out.splitlines()
    assert "kernel      /z" in lines
    assert "features    agent ssh" in lines


def add(cache: Cache, name: str, days: float = 0) -> Path:
    """An entry that another process made and that nobody uses."""
    code = (
        "import sys; from harness.builders.cache import *\n"
        "Cache().entry(Key(sys.argv[1], {}), lambda made: (made.out / 'x').write_text('x'))"
    )
    subprocess.run([sys.executable, "-c", code, name], check=True)
    path = cache.find(Key(name, {}))
    assert path is not None
    status = path.stat()
    os.utime(path / MANIFEST, (status.st_atime, status.st_mtime - days * 86400))
    return path


def test_cache_ls_and_prune(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "ls"]) == 0
    assert capsys.readouterr().out == f"0 entries, 0.0 MiB, in {cache.root}\n"
    assert not cache.root.exists()
    old, young = add(cache, "old", days=40), add(cache, "young", days=10)
    cli.main(["cache", "ls"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [old.name, young.name, "2"]
    assert cli.main(["cache", "prune"]) == 0
    assert "removed 1 entries" in capsys.readouterr().out
    assert (old.exists(), young.exists()) == (False, True)
    cli.main(["cache", "prune", "--older-than", "9.5"])
    assert not young.exists()


def test_prune_all_leaves_what_is_in_use_and_says_so(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    spare = add(cache, "spare")

    def build(build_dir: BuildDirectory) -> None:
        (build_dir.out / "x").write_text("x")

    used = cache.entry(Key("used", {}), build)
    assert cli.main(["cache", "prune", "--all"]) == 0
    assert f"left {used.name}: in use by another process" in capsys.readouterr().out
    assert (spare.exists(), used.exists()) == (False, True)


def test_prune_keep_current(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current, stale = add(cache, "current"), add(cache, "stale")

    def build(version: str, cache: Cache) -> ImageSet:
        cache.entry(Key("current", {}), lambda build_dir: None)
        cache.entry(Key("never-built", {}), lambda build_dir: None)
        raise AssertionError("went on after a missing entry")

    monkeypatch.setattr(imageset, "build_image_set", build)
    assert cli.main(["cache", "prune", "--keep-current"]) == 0
    assert (current.exists(), stale.exists()) == (True, False)


def test_an_interrupt_while_the_command_is_loaded_is_one_word() -> None:
    program = (
        "import builtins, runpy, sys\n"
        "load = builtins.__import__\n"
        "def interrupted(name, *words, **more):\n"
        "    if name == 'harness.cli.app':\n"
        "        raise KeyboardInterrupt\n"
        "    return load(name, *words, **more)\n"
        "builtins.__import__ = interrupted\n"
        "runpy.run_module('harness', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PYTHON_PATH)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
