# SPDX-License-Identifier: MIT
"""``harness nightly``: runs the matrix, merges shards, reports.

Exit status: 0 all as expected, 1 the product is at fault (a test fails that is no known failure, a
mutant was not noticed), 2 bad input, 3 infrastructure only, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli import formats, options
from harness.engine.buildjob import build_here
from harness.engine.choose import HERE_ONLY, ClusterChoice, open_engine
from harness.engine.task import Engine
from harness.engine.watch import watching
from harness.errors import HarnessError, UserError
from harness.host.facts import host_facts, project_commit
from harness.host.output import claim, prune
from harness.host.programs import check_installed
from harness.host.project import ARTIFACTS, ROOT
from harness.nightly import night, report
from harness.nightly.book import SLOTS, Book, NightIdentity, last_seconds
from harness.nightly.commands import NightCommands
from harness.nightly.database import Database, put_damaged_aside
from harness.nightly.history import NightRun
from harness.nightly.job import Job, JobStatus, exit_status
from harness.nightly.kcidb import cases, document, night_of
from harness.nightly.matrix import read_matrix
from harness.nightly.merge import merge
from harness.nightly.shard import plan_digest, share_out
from harness.testrun.ktap import render

MATRIX = ROOT / "nightly.toml"
DATABASE = ARTIFACTS / "nightly" / "nightly.sqlite"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


@dataclasses.dataclass(frozen=True)
class NightOptions:
    """How a night is run; see the command's help."""

    database: Path = DATABASE
    matrix: Path = MATRIX
    only: tuple[str, ...] = ()
    night: str | None = None
    shard: tuple[int, int] = (1, 1)
    durations: Path | None = None
    jobs: int = options.CORES
    list_only: bool = False
    cluster: ClusterChoice = HERE_ONLY


class _Group(click.Group):
    """``nightly`` alone is ``nightly run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``run`` where no subcommand is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def _name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _ID.fullmatch(value):
        raise click.BadParameter(f"{value}: take letters, digits, '.', '_', ':' and '-'")
    return value


_DATABASE = click.option(
    "--database",
    metavar="FILE",
    type=options.PATH,
    default=DATABASE,
    help="Where the nights are kept (default: artifacts/nightly/nightly.sqlite).",
)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all as expected, 1 the product is at fault, 2 bad input, 3"
    " infrastructure only.",
)
def command() -> None:
    """Run the matrix of nightly.toml and keep what came of it.

    `nightly run` may be written as `nightly`.
    """


@command.command("run")
@_DATABASE
@click.option(
    "--matrix", metavar="FILE", type=options.PATH, default=MATRIX, help="Default: nightly.toml."
)
@click.option("--only", metavar="GLOB", multiple=True, help="The jobs of these names.")
@click.option(
    "--night",
    metavar="NAME",
    callback=_name,
    help="The night's name (default: the time); with that of a night that was ended early, its"
    " other jobs are run.",
)
@click.option(
    "--shard",
    metavar="I/N",
    type=options.Shard(),
    default=(1, 1),
    help="The I-th of N parts; needs --night, the same for all parts.",
)
@click.option(
    "--durations",
    metavar="FILE",
    type=options.PATH,
    help="A database: shards are balanced by how long its jobs took; the same for all parts.",
)
@options.jobs("Jobs at once (default: as many as cores).")
@options.cluster
@formats.formats
@click.option("--list", "list_only", is_flag=True, help="Print the jobs and end.")
@options.unconfined
@options.debug
def run_command(**given: Any) -> int:
    """Run a night, or one shard of it."""
    check_installed()
    chosen, others = NightOptions(**given), formats.chosen()
    if chosen.shard[1] == 1 and chosen.night is None:
        chosen = dataclasses.replace(chosen, night=_now())
    status = run(chosen, lambda: open_engine(chosen.cluster, chosen.jobs, build_here))
    if chosen.list_only:
        return status
    with Database(chosen.database) as database:
        failed = _write(others, night_of(database, chosen.night or ""))
    return status or failed


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H%M%S")


def _write(others: formats.Formats, night: NightRun) -> int:
    """Writes a night in the other formats that were asked for; see `formats.Formats.write`."""
    return others.write(lambda origin: document(night, origin), lambda: render(cases(night)))


@command.command("report")
@_DATABASE
@options.output("The page (default: report.html beside the database).", "-o")
@click.option(
    "--nights",
    metavar="N",
    type=options.POSITIVE,
    default=report.NIGHTS,
    show_default=True,
    help="So many nights back.",
)
@formats.formats
@options.debug
def report_command(database: Path, output: Path | None, nights: int) -> int:
    """Write the HTML report on the last nights; --kcidb and --ktap are about the last one."""
    others = formats.chosen()
    with Database(database) as read:
        to = output or database.absolute().parent / "report.html"
        last = report.write_report(read, to, nights)
    _say(f"night {last.id}: {to}")
    return _write(others, last)


@command.command("merge")
@click.argument("shards", metavar="FILE...", type=options.PATH, nargs=-1, required=True)
@click.option(
    "--output", "-o", metavar="ALL", type=options.PATH, required=True, help="Made or added to."
)
@click.option("--partial", is_flag=True, help="Accept that shards are missing.")
@options.debug
def merge_command(shards: tuple[Path, ...], output: Path, partial: bool) -> int:
    """Put the shards' databases FILE into one database."""
    done = merge(shards, output, partial=partial)
    _say(
        f"{output}: {done.added} shards added, {done.unchanged} there already"
        f" ({', '.join(done.nights) or 'no night'})"
    )
    return 0


@command.command("prune")
@_DATABASE
@click.option(
    "--older-than",
    metavar="DAYS",
    type=options.FloatRange(0, options.MANY),
    required=True,
    help="Nights that nothing was written to for so many days.",
)
@options.debug
def prune_command(database: Path, older_than: float) -> int:
    """Remove the logs and transcripts of old nights. Their results stay in the database."""
    with Database(database) as read:
        nights = [str(row["id"]) for row in read.rows("SELECT id FROM nights ORDER BY id")]
    # A name that no night can have leads elsewhere.
    places = [database.parent / night for night in nights if _ID.fullmatch(night)]
    removed = prune(places, older_than * 86400, time.time())
    for place in removed:
        _say(f"removed {place}")
    _say(f"the artifacts of {len(removed)} nights were removed")
    return 0


def select(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """Jobs that one of the patterns names; each must name one. Raises `UserError`."""
    for pattern in only:
        if not any(fnmatch.fnmatch(job.name, pattern) for job in jobs):
            raise UserError(f"--only {pattern}: no job is called so; --list prints all")
    matches = fnmatch.fnmatch
    return [job for job in jobs if not only or any(matches(job.name, glob) for glob in only)]


def run(
    options: NightOptions,
    engine: Callable[[], Engine],
    commands: Callable[[str], night.Commands] = NightCommands,
) -> int:
    """A night; `commands` is given its name."""
    number, count = options.shard
    if count > 1 and not options.night and not options.list_only:
        raise UserError("--shard needs --night NAME, the same for all shards of the night")
    seconds = {}
    if options.durations:
        try:
            with Database(options.durations) as known:
                seconds = last_seconds(known)
        except UserError:
            raise
        except HarnessError as error:
            _say(f"shards are not balanced: {error}")
    jobs = select(read_matrix(options.matrix), options.only)
    shares = share_out(jobs, count, seconds)
    mine = shares[number - 1]
    if options.list_only:
        print("\n".join(job.name for job in mine))
        return 0
    name = options.night or _now()
    identity = NightIdentity(name, project_commit(), plan_digest(shares), count, len(jobs))
    place = options.database.absolute().parent / name
    claim(place, shared=True)
    put_damaged_aside(options.database, _say)
    with Database(options.database, create=True) as database, engine() as opened:
        facts = host_facts()
        if options.cluster.address:
            facts[SLOTS] = str(opened.state().slots)
        book = Book(database, identity, number, facts)
        waiting = book.open(mine)
        _say(f"night {name}: {len(waiting)} of {len(mine)} jobs to run")
        try:
            with watching(opened, len(waiting)) as watch:
                unbuilt = opened.build(tuple(sorted({job.kernel for job in waiting})))
                runner = night.NightRunner(opened, commands(name), book, place, watch)
                runner.run(waiting, unbuilt)
        finally:
            statuses = book.statuses()
            _say(_summary(statuses))
            if JobStatus.NOT_RUN in statuses.values():
                _say(f"the results so far are kept; go on with --night {name}")
    return exit_status(statuses.values())


def _say(text: str) -> None:
    print(text, flush=True)


def _summary(statuses: dict[str, JobStatus]) -> str:
    counts = {status: list(statuses.values()).count(status) for status in JobStatus}
    said = ", ".join(f"{n} {status.value}" for status, n in counts.items() if n)
    return f"{len(statuses)} jobs: {said or 'none in this shard'}"
