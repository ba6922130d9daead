# SPDX-License-Identifier: MIT
"""``harness gate --queue DIR``: each file of a directory by itself, here or on a cluster."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.builders.kernel_source import DEFAULT
from harness.builders.repository import Repository
from harness.cli import formats
from harness.cli.options import CORES
from harness.engine.buildjob import build_here
from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.watch import watching
from harness.errors import UserError
from harness.gate import queue
from harness.gate.report import KCIDB
from harness.gate.report.kcidb import ORIGIN
from harness.gate.result import Decision
from harness.host.files import write_text
from harness.host.output import claim, set_aside
from harness.host.programs import check_installed
from harness.host.project import ARTIFACTS
from harness.testrun.ktap import render

EACH = 2
"""Guests of one gate on a cluster, unless the user says so."""


def judge_queue(
    directory: Path,
    cluster: ClusterChoice,
    at_once: int,
    kernel: str | Path | None,
    jobs: int,
    words: Sequence[str],
    whole: bool,
    select: Path | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Judges all; the exit status, see `queue.exit_status`."""
    files = queue.files_of(directory)
    if isinstance(kernel, Path) and not kernel.is_dir():
        raise UserError(f"--kernel {kernel}: a version or a kernel tree is needed here")
    if kernel is None and Repository.find(Path.cwd()) is not None:
        raise UserError(
            "--queue in the git tree of a kernel: name what the patches are for, --kernel 6.1 (as"
            " elsewhere) or --kernel DIR (the tree)"
        )
    if select is not None and not select.is_file():
        raise UserError(f"--select {select}: there is no such file")
    others = formats.chosen()
    if others.patchwork_check or others.patchwork_post:
        raise UserError("a check is of one patch: --patchwork-* goes without --queue")
    check_installed()
    begun = time.monotonic()
    place = (output or ARTIFACTS / "queue").absolute()
    claim(place)
    set_aside(place, ("*",))
    workers = (jobs if jobs != CORES else EACH) if cluster.address else max(1, jobs // at_once)
    settings = queue.QueueSettings(str(kernel or DEFAULT), tuple(words), select, whole, workers)
    lines = sys.stderr if as_json else sys.stdout
    judged: list[queue.Judged] = []

    def build(kernels: tuple[str, ...]) -> dict[str, str]:
        return dict(build_here(kernels, with_variants=whole))

    with (
        open_engine(cluster, at_once, build, at_once) as engine,
        watching(engine, len(files), lines) as watch,
    ):
        named = str(kernel or DEFAULT)
        for one in queue.judge_all(engine, files, named, settings, place, watch):
            judged.append(one)
            watch.done(one.decision is not Decision.ACCEPTED)
            watch.say(queue.line(one))
            write_text(place / queue.SUMMARY, queue.as_json(judged))
    if as_json:
        print(queue.as_json(judged), end="")
    print(f"{queue.summary(judged)} ({time.monotonic() - begun:.0f} s)", file=lines)
    failed = others.write(
        lambda origin: formats.combined([_document(one, origin) for one in judged]),
        lambda: render([queue.case(one) for one in judged]),
    )
    return queue.exit_status(judged) or failed


def _document(one: queue.Judged, origin: str) -> dict[str, Any]:
    """What its gate wrote for KCIDB, under another origin's name; nothing where it wrote none."""
    try:
        text = (one.directory / KCIDB).read_text().replace(f'"{ORIGIN}', f'"{origin}')
        found: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return formats.combined([])
    return found
