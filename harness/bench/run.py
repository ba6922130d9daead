# SPDX-License-Identifier: MIT
"""``harness bench``: this harness against labgrid and against ten lines of pexpect.

All on the same images and machine, in one run, interleaved; medians and ratios. A peer that
cannot do a row has null there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.bench import saved
from harness.bench.plot import shown
from harness.builders.cache import cache_root
from harness.builders.imageset import build_image_set
from harness.errors import HarnessError
from harness.imageset.linetable import TRACED
from harness.imageset.model import ImageSet
from harness.testrun.suite import Suite, coverage_of, keeping_compiled

HERE = Path(__file__).resolve().parent
PEERS = ("here", "labgrid", "pexpect")
ROWS = {
    "command": "a command there and back, guest idle",
    "pristine": "pristine machine → app result",
    "clone": "clone start → first command answered",
    "sequence": "a sequence of 40 steps explored, its clone with it",
    "step": "a step of such a sequence",
    "suite": "{tests} tests of a command, a pristine machine each",
    "memory": "private memory of 8 machines after the main job",
    "coverage": "more time of the whole suite with executed lines noted",
    "record": "record of executed lines, each test",
    "watch": "line saved → verdict of ten tests (by hand: make, boot, ten commands)",
}
IN_WORKERS = ("command", "pristine", "clone", "sequence", "step", "memory")
"""Rows that a peer's process measures when it is asked."""
SAVES = 3
"""Rounds of ``watch``."""
BenchResults = dict[str, dict[str, float | None]]


def titles(tests: int) -> dict[str, str]:
    """What each row measures, in words."""
    return {row: text.format(tests=tests) for row, text in ROWS.items()}


def measure(
    wanted: Sequence[str], rounds: int, tests: int, tree: Path | None = None
) -> BenchResults:
    """Medians of all rounds, and the ratio of labgrid's to ours (how many times faster we are).

    `tree` is a git tree of Linux for the row ``watch``.
    """
    images = build_image_set()
    given: dict[str, Any] = {
        "kernel": str(images.kernel),
        "dtb": str(images.dtb),
        "initrd": str(images.initrd),
        "module": str(images.module),
        "app": str(images.app),
        "append": images.append,
        "release": images.release,
        "features": sorted(images.features),
        "templates": str(cache_root() / "templates"),
        "tests": tests,
    }
    pythons = {"here": sys.executable, "pexpect": sys.executable, "labgrid": labgrid_python()}
    samples: dict[str, dict[str, list[float]]] = {row: {p: [] for p in PEERS} for row in wanted}
    with contextlib.ExitStack() as stack:
        workers = {p: stack.enter_context(worker(p, pythons[p], given)) for p in PEERS}
        for row in (row for row in wanted if row in IN_WORKERS):
            # The first round warms each peer and is not counted.
            for number in range((1 if row == "memory" else rounds) + 1):
                for peer, ask in workers.items():
                    value = ask(row)
                    say(f"{row} {number}/{rounds} {peer}: {value}")
                    if value is not None and (number or row == "memory"):
                        samples[row][peer].append(value)
    if "suite" in wanted:
        for peer in PEERS:
            samples["suite"][peer].append(suite(peer, pythons[peer], given))
            say(f"suite {peer}: {samples['suite'][peer][-1]:.1f} s")
    if {"coverage", "record"} & set(wanted):
        for row, value in zip(("coverage", "record"), coverage(images), strict=True):
            if row in wanted:
                samples[row]["here"].append(value)
    if "watch" in wanted and tree is not None:
        samples["watch"] = watch(tree, pythons, given)
    results: BenchResults = {}
    for row, peers in samples.items():
        medians = {p: statistics.median(v) if v else None for p, v in peers.items()}
        here, labgrid = medians["here"], medians["labgrid"]
        results[row] = {**medians, "ratio": labgrid / here if here and labgrid else None}
    return results


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def worker(peer: str, python: str, given: dict[str, Any]) -> Iterator[Any]:
    """A process that measures one peer; yields a function from row to figure."""
    module = ["-m", "harness.bench.here"] if peer == "here" else [str(HERE / f"{peer}_peer.py")]
    process = subprocess.Popen(
        [python, *module, json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(row: str) -> float | None:
        stdin.write(f"{row}\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise HarnessError(f"the bench's {peer} worker ended with status {process.wait()}")
        value: float | None = json.loads(answer)
        return value

    try:
        yield ask
    finally:
        stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def environment() -> dict[str, str]:
    """The environment of a worker: our packages are importable."""
    paths = [str(HERE.parents[1]), str(HERE)]
    return {**os.environ, **keeping_compiled(), "PYTHONPATH": os.pathsep.join(paths)}


def suite(peer: str, python: str, given: dict[str, Any]) -> float:
    """Seconds of a pytest run of N tests with two xdist workers, its start included."""
    argv = [python, "-m", "pytest", "-q", "-p", "xdist", "-n", "2", "--noconftest"]
    argv += ["-p", "no:cacheprovider"]
    argv += ["-c", os.devnull, "--rootdir", str(HERE), str(HERE / "suite.py")]
    bench = json.dumps({**given, "peer": peer})
    begun = time.perf_counter()
    run = subprocess.run(
        argv,
        # xdist alone: what else is installed beside a peer is not the peer's doing.
        env={**environment(), "BENCH": bench, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE,
    )
    seconds = time.perf_counter() - begun
    if run.returncode:
        said = run.stdout[-2000:] + run.stderr[-500:]
        raise HarnessError(f"the suite failed with {peer}:\n{said}")
    return seconds


def coverage(images: ImageSet) -> tuple[float, float]:
    """How much longer the whole suite takes with executed lines noted, as a fraction of its time,
    and the record's bytes for each test.
    """
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        plain = Suite(cache_root(), place / "cache", "2").run(images, place / "plain", stop_after=0)
        say(f"suite, nothing noted: {plain.tests} tests, {plain.seconds:.1f} s")
        traced = Suite(cache_root(), place / "cache", "2", TRACED)
        noted = traced.run(images, place / "noted", stop_after=0)
        say(f"suite, lines noted: {noted.tests} tests, {noted.seconds:.1f} s")
        size = coverage_of(place / "noted").stat().st_size
        return noted.seconds / plain.seconds - 1, size / noted.tests


def watch(tree: Path, pythons: dict[str, str], given: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds from saved lines to verdicts, by peer."""
    seconds: dict[str, list[float]] = {peer: [] for peer in PEERS}
    with contextlib.ExitStack() as stack:
        # What a peer builds is not to be saved in the tree that is watched.
        ours, theirs = (stack.enter_context(saved.clone(tree)) for _ in range(2))
        our_editor, their_editor = saved.Editor(ours), saved.Editor(theirs)
        saved.configure(theirs)
        given = {**given, "kernel": str(theirs / saved.ZIMAGE)}
        workers = {
            peer: stack.enter_context(worker(peer, pythons[peer], given)) for peer in PEERS[1:]
        }
        here = stack.enter_context(saved.watching(ours, ours.parent / "watch"))
        for number in range(SAVES + 1):
            took = {"here": here(our_editor.save)}
            for peer, ask in workers.items():
                ten = functools.partial(ask, "ten")
                took[peer] = saved.by_hand(theirs, their_editor.save, ten)
            for peer, value in took.items():
                say(f"watch {number}/{SAVES} {peer}: {value:.1f} s")
                if number:
                    seconds[peer].append(value)
    return seconds


def labgrid_python() -> str:
    """labgrid in an environment of its own, in the cache; made at first use."""
    requirements = HERE / "requirements-labgrid.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    place = cache_root() / "bench" / f"labgrid-{digest}"
    python = place / "bin" / "python"
    if not (place / "done").exists():
        say("installing labgrid into an environment of its own")
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--no-cache-dir", "--require-hashes"]
        made = subprocess.run([*pip, "-r", str(requirements)], check=False)
        if made.returncode:
            raise HarnessError("pip could not install labgrid")
        (place / "done").touch()
    return str(python)


def table(results: BenchResults, tests: int) -> str:
    """The results as text."""
    words = titles(tests)
    lines = [f"{'':<50}{'here':>12}{'labgrid':>12}{'pexpect':>12}{'ratio':>8}"]
    for row, values in results.items():
        cells = "".join(f"{_cell(row, values[peer]):>12}" for peer in PEERS)
        ratio = values["ratio"]
        times = f"{ratio:.1f}x" if ratio is not None else "-"
        lines.append(f"{words[row]:<50}{cells}{times:>8}")
    return "\n".join(lines)


def _cell(row: str, value: float | None) -> str:
    return "-" if value is None else shown(row, value)
