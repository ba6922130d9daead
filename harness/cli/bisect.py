# SPDX-License-Identifier: MIT
"""``scripts/bisect``. Exit status: 0 found and proved, 1 not to be decided, 2 bad input, 3
infrastructure. With ``--run``, as ``git bisect run`` wants it: 0 good, 1 bad, 125 cannot be judged,
128 and more for everything else, which ends the search.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.builders.cache import Cache
from harness.cli.arguments import positive
from harness.errors import UserError
from harness.gate.bisect import Found, Mark, Settings, Undecided, search, tester
from harness.gate.inputs import commit_of, git
from harness.host.command import run_command
from harness.host.programs import ROOT
from harness.host.progress import LineProgress

ARTIFACTS = ROOT / "artifacts" / "bisect"
ABORT = 128
"""``git bisect run`` ends the search at this status and above."""
MARKS = {mark.value: mark for mark in Mark}


class _Parser(argparse.ArgumentParser):
    """Whose errors do not mark a commit."""

    def error(self, message: str) -> NoReturn:
        """As argparse's, with another status where ``--run`` was meant."""
        self.print_usage(sys.stderr)
        self.exit(ABORT + 2 if "--run" in sys.argv else 2, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs; returns the exit status. Errors are one message on standard error."""
    options = _parser().parse_args(argv)
    if not options.run:
        return run_command(lambda: _search(options))
    try:
        status = run_command(lambda: ABORT + _one(options))
    except BaseException:
        # Whatever went wrong here says nothing of the commit.
        traceback.print_exc()
        return ABORT + 1
    verdict = status - ABORT
    return verdict if verdict in {mark.run_status for mark in Mark} else ABORT + status % ABORT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bisect",
        description="Finds the first bad commit of a kernel's git tree, by building, booting and"
        " testing commits between GOOD and BAD.",
    )
    parser.add_argument("good", metavar="GOOD", nargs="?")
    parser.add_argument("bad", metavar="BAD", nargs="?")
    parser.add_argument(
        "--run",
        action="store_true",
        help="judge the commit that is checked out here, for `git bisect run scripts/bisect --run`",
    )
    parser.add_argument(
        "--kernel-source",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the git tree, only read (default: where you are)",
    )
    parser.add_argument(
        "--boot-hang",
        choices=list(MARKS),
        default=Mark.BAD.value,
        help="what a commit is that gives no answer after its boot (default: %(default)s)",
    )
    parser.add_argument("--whole", action="store_true", help="run all tests, not a selection")
    parser.add_argument("--output", metavar="DIR", type=Path, default=ARTIFACTS)
    parser.add_argument(
        "-n", metavar="JOBS", type=positive, default=len(os.sched_getaffinity(0)), dest="jobs"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    directory = options.kernel_source.absolute()
    if not directory.is_dir():
        raise UserError(f"--kernel-source {directory}: there is no such directory")
    return Settings(
        directory,
        options.output.absolute(),
        MARKS[options.boot_hang],
        options.jobs,
        options.whole,
    )


def _search(options: argparse.Namespace) -> int:
    if options.good is None or options.bad is None:
        raise UserError("name a GOOD and a BAD commit (or use --run, under git bisect run)")
    settings = _settings(options)
    good, bad = (commit_of(settings.directory, name) for name in (options.good, options.bad))
    progress = LineProgress()

    def say(text: str) -> None:
        print(text, flush=True)

    with tester(settings, good, Cache(say=progress.say), progress) as made:
        try:
            found = search(good, bad, settings.directory, made.test, say)
        except Undecided as error:
            print(error)
            return 1
    print(_told(found, settings.directory))
    return 0 if found.proved else 1


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


def _one(options: argparse.Namespace) -> int:
    """The status for the commit that is checked out."""
    settings = _settings(options)
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


if __name__ == "__main__":
    sys.exit(main())
