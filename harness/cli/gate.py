# SPDX-License-Identifier: MIT
"""``harness gate``. Exit status: 0 accepted, 1 rejected, 2 cannot be judged, 3 infrastructure."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import formats, options
from harness.cli.judged import Asked
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.engine.choose import ClusterChoice
    from harness.gate.result import GateResult

RATIO = options.FloatRange(1, options.MANY)


@click.command(epilog="Exit status: 0 accepted, 1 rejected, 2 cannot be judged, 3 infrastructure.")
@click.argument("words", metavar="[PATCH|COMMITS]...", type=options.PATH_OR_WORD, nargs=-1)
@options.kernel(
    "The kernel that they are for: Debian's version, or a tree (default: the git tree of a kernel"
    " that you are in, else 6.1).",
    "--base",
)
@click.option("--staged", is_flag=True, help="Judge what is staged, not all that is not committed.")
@options.config
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
@click.option(
    "--test",
    "tests",
    metavar="NAME",
    multiple=True,
    help="Run this test, as reports name it (may be repeated).",
)
@click.option(
    "--warm",
    is_flag=True,
    help="Judge nothing: build the base, and find out what each test executes there, which takes"
    " minutes and which the first gate would do.",
)
@click.option(
    "--baselines",
    type=options.PATH,
    hidden=True,
    help="What --warm has left of the base on another machine.",
)
@options.variant
@options.unconfined
@click.option(
    "--require-coverage",
    is_flag=True,
    help="Reject what changes code that no test and no boot executes.",
)
@formats.formats
@formats.patchwork
@options.as_json("Print the verdict as JSON.")
@options.debug
def command(
    words: tuple[str, ...],
    kernel: str | Path | None,
    staged: bool,
    config: tuple[Path, ...],
    commits: str | None,
    queue: Path | None,
    at_once: int,
    cluster: ClusterChoice,
    whole: bool,
    select: Path | None,
    tests: tuple[str, ...],
    warm: bool,
    baselines: Path | None,
    output: Path | None,
    jobs: int,
    variant: str | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Judge patches for the kernel, the driver, the application or the device tree.

    PATCH is a patch, a mail or a mailbox; - is standard input. In the git tree of a kernel: without
    any, what is not committed; COMMITS are A..B, a branch (against its upstream), or one commit
    (HEAD). They are built in a sandbox, booted and tested, and compared with the kernel without
    them. The tree is only read.
    """
    from harness.builders.cache import Cache
    from harness.builders.kernel import kconfig_fragment
    from harness.cli.repeat import check_tests, command_again
    from harness.cli.stages import shown
    from harness.cli.warm import of_variant
    from harness.gate.gate import Gate
    from harness.gate.options import Options
    from harness.gate.report import as_json as json_report
    from harness.gate.report import text, write_all
    from harness.gate.report.placed import github
    from harness.gate.result import Decision, Finding, FindingKind, GateResult
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS

    if whole + bool(select) + bool(tests) > 1:
        raise click.UsageError("--whole and --select, or --test: give one of them")
    if tests and queue is not None:
        raise click.UsageError("--test goes with patches, not with --queue")
    asked = Asked(words, kernel, commits, staged)
    if queue is not None:
        from harness.cli.queue import judge_queue

        if words or commits or staged or config:
            raise click.UsageError("--queue DIR: its files are what is judged; name nothing else")
        if warm:
            raise click.UsageError("--warm goes without --queue, which finds that out itself")
        more = options.words_of({**settings, "variant": variant})
        return judge_queue(
            queue, cluster, at_once, kernel, jobs, more, whole, select, output, as_json
        )
    if cluster.address:
        raise click.UsageError("--cluster goes with --queue DIR")
    if at_once > 1:
        raise click.UsageError("--at-once goes with --queue DIR")
    if warm:
        from harness.cli.warm import make_ready

        if words or commits or staged or tests or select is not None or whole:
            raise click.UsageError("--warm judges nothing: name a kernel, and no patch or test")
        return make_ready(asked, config, variant, jobs, output)
    asked.check()
    others = formats.chosen()
    check_installed()
    begun = time.monotonic()
    to = (output or ARTIFACTS / "gate").absolute()
    render = json_report.render if as_json else text.render
    try:
        if select is not None and not select.is_file():
            raise UserError(f"--select {select}: there is no such file")
        check_tests(tests)
        for fragment in config:
            kconfig_fragment(fragment)
        base, found = asked.read()
        base, config = of_variant(base, config, variant)
    except UserError as error:
        finding = Finding(FindingKind.INPUT, str(error))
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
        return written(result, others)
    repeated = [("--base", kernel), ("--range", commits), ("--staged", staged)]
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = Options(
        output=to,
        base=base,
        config=config,
        select=select,
        whole=whole,
        tests=tests,
        baselines=baselines,
        command=command_again(words, [*repeated, ("--variant", variant)], to),
        workers=jobs,
        **given,
    )
    with shown() as (progress, watch):
        result = Gate(chosen, Cache(say=progress.say), progress, watch).judge(found)
    write_all(result, chosen.output)
    print(render(result))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # Its runner reads commands from both streams; standard output may be one JSON document.
        print(github(result), end="", file=sys.stderr)
    progress.say(f"{time.monotonic() - begun:.1f} s")
    return written(result, others)


def written(result: GateResult, others: formats.Formats) -> int:
    """Writes the result in the other formats that were asked for; the exit status."""
    from harness.gate.report import kcidb

    failed = others.write(
        lambda origin: kcidb.document(result, origin),
        lambda: kcidb.render_ktap(result),
        kcidb.check(result, others.report_url),
    )
    return result.decision.exit_status or failed
