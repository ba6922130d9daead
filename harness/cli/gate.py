# SPDX-License-Identifier: MIT
"""``harness gate``. Exit status: 0 accepted, 1 rejected, 2 cannot be judged, 3 infrastructure."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.builders.kernel_source import KernelSource
    from harness.engine.choose import ClusterChoice
    from harness.gate.inputs import Input

RATIO = click.FloatRange(min=1)


@click.command(epilog="Exit status: 0 accepted, 1 rejected, 2 cannot be judged, 3 infrastructure.")
@click.argument("patches", metavar="[PATCH]...", type=options.PATH, nargs=-1)
@options.kernel(
    "The kernel that they are for: Debian's version, or a tree (default: 6.1).", "--base"
)
@click.option("--range", "commits", metavar="A..B", help="Judge these commits of the kernel tree.")
@click.option(
    "--queue",
    metavar="DIR",
    type=options.PATH,
    help="Judge each file of a directory by itself; see --at-once and --cluster.",
)
@click.option(
    "--at-once",
    metavar="N",
    type=options.POSITIVE,
    default=1,
    help="With --queue: so many at once on this machine, each with a tree of its own (2 GB).",
)
@options.cluster
@click.option("--whole", is_flag=True, help="Run all tests.")
@click.option(
    "--select",
    metavar="FILE",
    type=options.PATH,
    help="Run the tests that it names (default: those that execute what is changed).",
)
@options.output("Where verdict, logs and reports go (default: artifacts/gate).")
@options.jobs("Make's jobs and the tests' processes.")
@click.option(
    "--boot-limit",
    metavar="RATIO",
    type=RATIO,
    help="Boot time, against the base's, that is a regression (default: 1.25).",
)
@click.option(
    "--latency-limit",
    metavar="RATIO",
    type=RATIO,
    help="The same for the time of an allocation (default: 1.5).",
)
@options.variant
@options.unconfined
@click.option(
    "--require-coverage",
    is_flag=True,
    help="Reject what changes code that no test and no boot executes.",
)
@options.as_json("Print the verdict as JSON.")
@options.debug
def command(
    patches: tuple[Path, ...],
    kernel: str | Path | None,
    commits: str | None,
    queue: Path | None,
    at_once: int,
    cluster: ClusterChoice,
    whole: bool,
    select: Path | None,
    output: Path | None,
    jobs: int,
    variant: str | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Judge patches for the kernel, the driver, the application or the device tree.

    PATCH is a patch, a mail or a mailbox; - is standard input. They are built in a sandbox, booted
    and tested, and compared with the kernel without them.
    """
    from harness.builders.cache import Cache
    from harness.builders.kernel_source import resolve, with_variant
    from harness.gate.gate import Gate
    from harness.gate.options import Options
    from harness.gate.report import as_json as json_report
    from harness.gate.report import text, write_all
    from harness.gate.result import Decision, Finding, FindingKind, GateResult
    from harness.host.programs import check_installed
    from harness.host.progress import LineProgress
    from harness.host.project import ARTIFACTS

    if whole and select:
        raise click.UsageError("--whole and --select: give one of them")
    if queue is not None:
        from harness.cli.queue import judge_queue

        if patches or commits:
            raise click.UsageError("--queue DIR: its files are what is judged; name nothing else")
        words = options.words_of(settings)
        return judge_queue(
            queue, cluster, at_once, kernel, jobs, words, whole, select, output, as_json
        )
    if cluster.address:
        raise click.UsageError("--cluster goes with --queue DIR")
    if not patches and not commits:
        # Nothing is judged, so no earlier verdict is written over.
        raise UserError("no patch was given; - reads one from the standard input")
    check_installed()
    begun = time.monotonic()
    to = (output or ARTIFACTS / "gate").absolute()
    render = json_report.render if as_json else text.render
    try:
        base, found = _input(patches, kernel, commits, select)
        if variant:
            base = with_variant(resolve(base, Cache()), variant)
    except UserError as error:
        finding = Finding(FindingKind.SCOPE, str(error))
        result = GateResult(
            Decision.NOT_JUDGED,
            str(error),
            (),
            str(kernel or ""),
            findings=(finding,),
            artifacts=to,
        )
        write_all(result, to)
        print(render(result))
        return result.decision.exit_status
    progress = LineProgress()
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = Options(output=to, base=base, select=select, whole=whole, workers=jobs, **given)
    result = Gate(chosen, Cache(say=progress.say), progress).judge(found)
    write_all(result, chosen.output)
    print(render(result))
    print(f"{time.monotonic() - begun:.1f} s", file=sys.stderr)
    return result.decision.exit_status


def _input(
    patches: tuple[Path, ...],
    kernel: str | Path | None,
    commits: str | None,
    select: Path | None,
) -> tuple[str | Path | KernelSource | None, list[Input]]:
    """What is to be judged, and on what. Raises `UserError`."""
    from harness.builders.kernel_source import at_commit
    from harness.gate import inputs

    if isinstance(kernel, Path) and not kernel.is_dir():
        raise UserError(f"--kernel {kernel}: a version or a kernel tree is needed here")
    if commits:
        if patches:
            raise UserError("give patches, or a --range of commits, not both")
        if not isinstance(kernel, Path):
            raise UserError("--range A..B needs the git tree: --kernel DIR")
        base, found = inputs.commits(kernel, commits)
        return at_commit(kernel, base), found
    if select is not None and not select.is_file():
        raise UserError(f"--select {select}: there is no such file")
    found = inputs.read(list(patches))
    for patch in found:
        for note in patch.notes:
            print(note, file=sys.stderr)
    return kernel, found
