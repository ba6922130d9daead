# SPDX-License-Identifier: MIT
"""``harness bisect``. Exit status: 0 found and proved, 2 bad input, 3 not to be decided, or
infrastructure. With ``--run``, as ``git bisect run`` wants it: 0 good, 1 bad, 125 cannot be judged,
128 and more for everything else, which ends the search.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import click

from harness.builders.cache import Cache
from harness.cli import options
from harness.engine.choose import ClusterChoice, open_engine
from harness.engine.watch import watching
from harness.errors import UserError
from harness.gate.bisect import BisectSettings, Found, Mark, Undecided, search, tester
from harness.gate.commitjob import CommitJobs
from harness.gate.inputs import commit_of, git
from harness.gate.searchmany import search_many
from harness.host.command import INFRASTRUCTURE, run_command
from harness.host.output import claim, set_aside
from harness.host.programs import check_installed
from harness.host.progress import LineProgress
from harness.host.project import ARTIFACTS

ABORT = 128
"""``git bisect run`` ends the search at this status and above."""
MARKS = {mark.value: mark for mark in Mark}


class _Command(click.Command):
    """Whose errors do not mark a commit."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """As click's, with another status for a wrong option where ``--run`` was meant."""
        state = extra.get("obj") or (parent.obj if parent else None)
        if isinstance(state, options.State) and "--run" in args:
            state.usage = ABORT + 2
        return super().make_context(info_name, args, parent, **extra)


@click.command(
    cls=_Command,
    epilog="Exit status: 0 found and proved, 2 bad input, 3 not decided, or infrastructure."
    " With --run: 0 good, 1 bad, 125 cannot be judged, 128 and more end the search.",
)
@click.argument("good", required=False)
@click.argument("bad", required=False)
@click.option(
    "--run",
    "run_one",
    is_flag=True,
    help="Judge the commit that is checked out, for `git bisect run harness bisect --run`.",
)
@options.kernel("The kernel's git tree, only read (default: where you are).")
@click.option(
    "--boot-hang",
    type=click.Choice(list(MARKS)),
    default=Mark.BAD.value,
    show_default=True,
    help="What a commit is that gives no answer after its boot.",
)
@options.output("Where logs and results go (default: artifacts/bisect).")
@click.option(
    "--at-once",
    "-j",
    metavar="K",
    type=options.POSITIVE,
    default=1,
    help="Test K commits at once, each in a tree of its own (2 GB): fewer rounds.",
)
@click.option(
    "--jobs",
    "-n",
    metavar="N",
    type=options.POSITIVE,
    help="Make's jobs and the tests' processes of each commit (default: the cores, shared out).",
)
@options.cluster
@options.unconfined
@options.debug
def command(
    good: str | None,
    bad: str | None,
    run_one: bool,
    kernel: str | Path | None,
    boot_hang: str,
    output: Path | None,
    at_once: int,
    jobs: int | None,
    cluster: ClusterChoice,
) -> int:
    """Find the first bad commit of a kernel's git tree, between GOOD and BAD.

    Commits are built, booted and tested; the first bad one and its parent twice.
    """

    def settings() -> BisectSettings:
        check_installed()
        if isinstance(kernel, str) or (kernel is not None and not kernel.is_dir()):
            raise UserError(f"--kernel {kernel}: a git tree is needed here")
        to = (output or ARTIFACTS / "bisect").absolute()
        each = jobs or max(1, options.CORES // (1 if cluster.address else at_once))
        return BisectSettings((kernel or Path()).absolute(), to, MARKS[boot_hang], each)

    if run_one:
        return marked(settings)
    if good is None or bad is None:
        raise UserError("name a GOOD and a BAD commit (or use --run, under git bisect run)")
    if at_once > 1 or cluster.address:
        return _search_many(settings(), good, bad, at_once, cluster)
    return _search(settings(), good, bad)


def marked(settings: Callable[[], BisectSettings]) -> int:
    """The exit status for ``git bisect run``: a mark of the commit, or 128 and more."""
    try:
        status = run_command(lambda: ABORT + _one(settings()))
    except BaseException:
        # Whatever went wrong here says nothing of the commit.
        traceback.print_exc()
        return ABORT + 1
    verdict = status - ABORT
    return verdict if verdict in {mark.run_status for mark in Mark} else ABORT + status % ABORT


def _search(settings: BisectSettings, good: str, bad: str) -> int:
    first, last = (commit_of(settings.directory, name) for name in (good, bad))
    progress = LineProgress()

    def say(text: str) -> None:
        print(text, flush=True)

    with tester(settings, first, Cache(say=progress.say), progress) as made:
        return _ended(lambda: search(first, last, settings.directory, made.test, say), settings)


def _search_many(
    settings: BisectSettings, good: str, bad: str, count: int, cluster: ClusterChoice
) -> int:
    first, last = (commit_of(settings.directory, name) for name in (good, bad))
    claim(settings.output)
    set_aside(settings.output, ("[0-9][0-9]*-*",), ("cache",))
    with (
        open_engine(cluster, count, shares=count) as engine,
        watching(engine, 0) as watch,
    ):
        test = CommitJobs(engine, settings, first, watch).test
        return _ended(
            lambda: search_many(first, last, settings.directory, test, count, watch.say), settings
        )


def _ended(find: Callable[[], Found], settings: BisectSettings) -> int:
    try:
        found = find()
    except Undecided as error:
        print(error)
        return INFRASTRUCTURE
    print(_told(found, settings.directory))
    return 0 if found.proved else INFRASTRUCTURE


def _told(found: Found, directory: Path) -> str:
    first, parent = found.proof[0], found.proof[2]
    commits = (
        git(directory, "log", "-1", "--format=%h %s (%an, %as)", t.commit) for t in (first, parent)
    )
    one, other = (line.decode("utf-8", "replace").strip() for line in commits)
    lines = [f"{first.commit} is the first bad commit ({len(found.steps)} steps)"]
    for what, text, pair in (("bad ", one, found.proof[:2]), ("good", other, found.proof[2:])):
        marks = ", ".join(tested.mark.value for tested in pair)
        lines += [f"  {what}  {text}", f"        tested twice: {marks}; {pair[0].why[:160]}"]
    if not found.proved:
        lines.append("  NOT PROVED: the second look did not see what the first one saw")
    return "\n".join(lines)


def _one(settings: BisectSettings) -> int:
    """The status for the commit that is checked out."""
    commit = commit_of(settings.directory, "HEAD")
    progress = LineProgress()
    base = _known_good(settings.directory) or commit
    with tester(settings, base, Cache(say=progress.say), progress) as made:
        tested = made.test(commit)
    print(f"{commit[:12]} {tested.mark.value}: {tested.why}")
    return tested.mark.run_status


def _known_good(directory: Path) -> str | None:
    """The oldest commit that the running search knows to be good: it stays the same from step to
    step, and with it the tree that is built from it.
    """
    refs = git(directory, "for-each-ref", "--format=%(objectname)", "refs/bisect/good-*")
    goods = refs.decode().split()
    return git(directory, "merge-base", "--octopus", *goods).decode().strip() if goods else None
