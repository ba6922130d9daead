# SPDX-License-Identifier: MIT
"""``scripts/nightly``: runs the matrix, merges shards, reports.

Exit status: 0 all as expected, 1 the product is at fault (a test fails that is no known failure, a
mutant was not noticed), 2 bad input, 3 infrastructure only, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.arguments import positive, shard
from harness.errors import HarnessError, UserError
from harness.host.command import run_command
from harness.host.programs import ROOT
from harness.host.retry import retried
from harness.nightly import night, report
from harness.nightly.book import Book, last_seconds
from harness.nightly.book import Night as Identity
from harness.nightly.database import Database
from harness.nightly.facts import host_facts, project_commit
from harness.nightly.job import Job, Status, exit_status
from harness.nightly.matrix import read_matrix
from harness.nightly.merge import merge
from harness.nightly.processes import Processes
from harness.nightly.shard import plan_digest, share_out

if TYPE_CHECKING:
    from harness.builders.cache import Cache
    from harness.host.progress import Progress

MATRIX = ROOT / "nightly.toml"
DATABASE = ROOT / "artifacts" / "nightly" / "nightly.sqlite"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_COMMANDS = ("run", "report", "merge")

Build = Callable[[Sequence[str]], dict[str, str]]
"""Builds what kernels need; which could not be built, and why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status. Errors are one message on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in _COMMANDS and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    options = parser_of().parse_args(words)
    return run_command(lambda: int(options.call(options)))


def parser_of() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="nightly",
        description="Runs the matrix of nightly.toml and keeps what came of it. `nightly run` may"
        " be written as `nightly`.",
        epilog="exit status: 0 all as expected, 1 the product is at fault, 2 bad input,"
        " 3 infrastructure only",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run a night, or one shard of it"))
    telling = commands.add_parser("report", help="write the HTML report on the last nights")
    _add_database(telling)
    telling.add_argument(
        "-o", metavar="FILE", type=Path, help="default: report.html beside the database"
    )
    telling.add_argument(
        "--nights",
        metavar="N",
        type=positive,
        default=report.NIGHTS,
        help="so many nights back (default: %(default)s)",
    )
    telling.set_defaults(call=_report)
    merging = commands.add_parser("merge", help="put shards into one database")
    merging.add_argument("shards", metavar="FILE", type=Path, nargs="+", help="shards' databases")
    merging.add_argument("-o", metavar="ALL", type=Path, required=True, help="made or added to")
    merging.add_argument("--partial", action="store_true", help="accept that shards are missing")
    merging.set_defaults(call=_merge)
    return parser


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        metavar="FILE",
        type=Path,
        default=DATABASE,
        help="where the nights are kept (default: artifacts/nightly/nightly.sqlite)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument(
        "--matrix", metavar="FILE", type=Path, default=MATRIX, help="default: nightly.toml"
    )
    parser.add_argument(
        "--only", metavar="GLOB", action="append", default=[], help="jobs of these names"
    )
    parser.add_argument(
        "--night",
        metavar="NAME",
        type=_name,
        help="the night's name (default: the time); with that of a night that was ended early, its"
        " other jobs are run",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        default=(1, 1),
        help="the I-th of N parts; needs --night, the same for all parts",
    )
    parser.add_argument(
        "--durations",
        metavar="FILE",
        type=Path,
        help="a database: shards are balanced by how long its jobs took; the same for all parts",
    )
    parser.add_argument(
        "-j",
        metavar="N",
        type=positive,
        default=len(os.sched_getaffinity(0)),
        help="jobs at once (default: as many as cores, %(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="print the jobs and end")
    parser.set_defaults(call=_run)


def _name(text: str) -> str:
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text}: take letters, digits, '.', '_', ':' and '-'")
    return text


def select(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """Jobs that one of the patterns names; each must name one. Raises `UserError`."""
    for pattern in only:
        if not any(fnmatch.fnmatch(job.name, pattern) for job in jobs):
            raise UserError(f"--only {pattern}: no job is called so; --list prints all")
    matches = fnmatch.fnmatch
    return [job for job in jobs if not only or any(matches(job.name, glob) for glob in only)]


def _run(options: argparse.Namespace) -> int:
    return run(options, build)


def run(
    options: argparse.Namespace,
    build: Build,
    start: Callable[[str], night.Starter] = Processes,
) -> int:
    """A night; `start` is given its name."""
    number, count = options.shard
    if count > 1 and not options.night and not options.list:
        raise UserError("--shard needs --night NAME, the same for all shards of the night")
    seconds = {}
    if options.durations:
        with Database(options.durations) as known:
            seconds = last_seconds(known)
    jobs = select(read_matrix(options.matrix), options.only)
    shares = share_out(jobs, count, seconds)
    mine = shares[number - 1]
    if options.list:
        print("\n".join(job.name for job in mine))
        return 0
    name = options.night or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H%M%S")
    identity = Identity(name, project_commit(), plan_digest(shares), count, len(jobs))
    with Database(options.database, create=True) as database:
        book = Book(database, identity, number, host_facts())
        waiting = book.open(mine)
        _say(f"night {name}: {len(waiting)} of {len(mine)} jobs to run")
        try:
            unbuilt = build(sorted({job.kernel for job in waiting}))
            place = options.database.absolute().parent / name
            night.Night(start(name), book, place, options.j, _say).run(waiting, unbuilt)
        finally:
            statuses = book.statuses()
            _say(_summary(statuses))
            if Status.NOT_RUN in statuses.values():
                _say(f"the results so far are kept; go on with --night {name}")
    return exit_status(statuses.values())


def _say(text: str) -> None:
    print(text, flush=True)


def _summary(statuses: dict[str, Status]) -> str:
    counts = {status: list(statuses.values()).count(status) for status in Status}
    said = ", ".join(f"{n} {status.value}" for status, n in counts.items() if n)
    return f"{len(statuses)} jobs: {said or 'none in this shard'}"


def build(kernels: Sequence[str]) -> dict[str, str]:
    """Builds, or finds in the cache, what the jobs boot; tries twice what fails."""
    from harness.builders.cache import Cache
    from harness.host.progress import LineProgress

    progress = LineProgress()
    cache = Cache(say=progress.say)
    unbuilt: dict[str, str] = {}
    for kernel in kernels:
        try:
            retried(functools.partial(_build_one, kernel, cache, progress))
        except HarnessError as error:
            unbuilt[kernel] = str(error)
    return unbuilt


def _build_one(kernel: str, cache: Cache, progress: Progress) -> None:
    from harness.builders.imageset import build_image_set
    from harness.builders.variant import DIRECTORY, build_variant, variants

    images = build_image_set(kernel, progress, cache)
    for variant in variants():
        build_variant(cache, images, DIRECTORY / f"{variant}.config", progress)


def _report(options: argparse.Namespace) -> int:
    with Database(options.database) as database:
        to = options.o or options.database.absolute().parent / "report.html"
        last = report.write_report(database, to, options.nights)
    _say(f"night {last.id}: {to}")
    return 0


def _merge(options: argparse.Namespace) -> int:
    done = merge(options.shards, options.o, partial=options.partial)
    _say(
        f"{options.o}: {done.added} shards added, {done.unchanged} there already"
        f" ({', '.join(done.nights) or 'no night'})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
