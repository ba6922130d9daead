# SPDX-License-Identifier: MIT
"""``scripts/gate``. Exit status: 0 accepted, 1 rejected, 2 cannot be judged, 3 infrastructure."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.builders.kernel_source import DEFAULT, KernelSource, at_commit
from harness.cli.arguments import positive
from harness.errors import UserError
from harness.gate.gate import Gate
from harness.gate.inputs import Input, commits, read
from harness.gate.options import QUICK, Options
from harness.gate.report import text, write_all
from harness.gate.result import Decision, Finding, GateResult, Kind
from harness.host.command import run_command
from harness.host.programs import ROOT
from harness.host.progress import LineProgress

ARTIFACTS = ROOT / "artifacts" / "gate"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs; returns the exit status. Errors are one message on standard error."""
    options = _parser().parse_args(argv)
    return run_command(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gate",
        description="Judges patches for the kernel, the driver, the application or the device tree:"
        " builds them in a sandbox, boots, runs the test suite, and says what changed.",
    )
    parser.add_argument(
        "patches", metavar="PATCH", type=Path, nargs="*", help="patch, mail or mailbox; - for stdin"
    )
    parser.add_argument(
        "--base",
        metavar="X.Y|DIR",
        default=DEFAULT,
        help="the kernel that they are for: Debian's version, or a tree (default: %(default)s)",
    )
    parser.add_argument("--kernel-source", metavar="DIR", type=Path, help="a git tree, only read")
    parser.add_argument("--range", metavar="A..B", help="judge these commits of --kernel-source")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--whole", action="store_true", help="run all tests, not a selection")
    which.add_argument(
        "--select",
        metavar="FILE",
        type=Path,
        default=QUICK,
        help=f"run the tests that it names (default: tests/{QUICK.name})",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, default=ARTIFACTS)
    parser.add_argument(
        "-n", metavar="JOBS", type=positive, default=len(os.sched_getaffinity(0)), dest="jobs"
    )
    parser.add_argument(
        "--boot-limit",
        metavar="RATIO",
        type=_ratio,
        default=Options.boot_limit,
        help="boot time, against the base's, that is a regression (default: %(default)s)",
    )
    parser.add_argument(
        "--latency-limit",
        metavar="RATIO",
        type=_ratio,
        default=Options.latency_limit,
        help="the same for the time of an allocation (default: %(default)s)",
    )
    return parser


def _ratio(text: str) -> float:
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a ratio, 1 or more")
    return value


def _input(options: argparse.Namespace) -> tuple[str | Path | KernelSource, list[Input]]:
    """What is to be judged, and on what. Raises `UserError`."""
    if bool(options.kernel_source) != bool(options.range):
        raise UserError("--kernel-source DIR and --range A..B belong together")
    if options.range:
        if options.patches:
            raise UserError("give patches, or a --range of commits, not both")
        base, found = commits(options.kernel_source, options.range)
        return at_commit(options.kernel_source, base), found
    if not options.select.is_file():
        raise UserError(f"--select {options.select}: there is no such file")
    if not options.patches:
        raise UserError("no patch was given; - reads one from the standard input")
    is_version = options.base.replace(".", "").isdigit() and "/" not in options.base
    return options.base if is_version else Path(options.base), read(options.patches)


def _run(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    try:
        base, found = _input(options)
    except UserError as error:
        result = GateResult(
            Decision.NOT_JUDGED,
            str(error),
            (),
            str(options.base),
            findings=(Finding(Kind.SCOPE, str(error)),),
            artifacts=options.output.absolute(),
        )
        write_all(result, options.output.absolute())
        print(text.render(result))
        return result.decision.exit_status
    progress = LineProgress()
    chosen = Options(
        output=options.output.absolute(),
        base=base,
        select=None if options.whole else options.select,
        workers=options.jobs,
        boot_limit=options.boot_limit,
        latency_limit=options.latency_limit,
    )
    result = Gate(chosen, Cache(say=progress.say), progress).judge(found)
    write_all(result, chosen.output)
    print(text.render(result))
    print(f"{time.monotonic() - begun:.1f} s", file=sys.stderr)
    return result.decision.exit_status


if __name__ == "__main__":
    sys.exit(main())
