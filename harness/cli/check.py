# SPDX-License-Identifier: MIT
"""``harness check``: one patch in, lines as the kernel's checkpatch writes them out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.builders.kept_trees import Base
    from harness.gate.inputs import Input
    from harness.host.progress import Advance, Progress


@click.command(
    epilog="For b4: git config b4.prep-perpatch-check-cmd 'harness check'. Exit status: 0 nothing"
    " but warnings, 1 rejected, 2 cannot be judged, 3 infrastructure."
)
@click.argument("patch", metavar="[PATCH]", type=options.PATH, default="-")
@options.kernel(
    "The kernel that it is for (default: the commit before it in the git tree that you are in).",
    "--base",
)
@options.config
@options.output("Where verdict, logs and reports go (default: artifacts/check).")
@options.jobs("Make's jobs and the tests' processes.")
@options.unconfined
@options.debug
def command(
    patch: Path,
    kernel: str | Path | None,
    config: tuple[Path, ...],
    output: Path | None,
    jobs: int,
) -> int:
    """Judge one patch from standard input; print FILE:LINE: ERROR|WARNING|CHECK: what is wrong.

    In a series it is judged on the patch before it. Nothing is printed where nothing is wrong.
    """
    from harness.builders.cache import Cache
    from harness.gate import inputs
    from harness.gate.gate import Gate
    from harness.gate.options import Options
    from harness.gate.places import places
    from harness.gate.report import write_all
    from harness.gate.result import Decision, FindingKind
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS

    if isinstance(kernel, Path) and not kernel.is_dir():
        raise UserError(f"--base {kernel}: a version or a kernel tree is needed here")
    found = inputs.read([patch])
    if len(found) != 1:
        raise UserError(f"{len(found)} patches were given: check takes one (gate takes a series)")
    check_installed()
    base = _base(kernel, found[0])
    to = (output or ARTIFACTS / "check").absolute()
    progress = _progress()
    chosen = Options(output=to, base=base, config=config, workers=jobs)
    result = Gate(chosen, Cache(say=progress.say), progress).judge(found)
    write_all(result, to)
    for place in places(result):
        print(place)
    only_scope = all(finding.kind is FindingKind.SCOPE for finding in result.findings)
    if result.decision is Decision.NOT_JUDGED and only_scope:
        return 0  # it is said; a patch of the documentation is no mistake
    return result.decision.exit_status


def _base(kernel: str | Path | None, patch: Input) -> Base:
    """What the patch is judged on. Raises `UserError`."""
    from harness.builders.repository import Repository
    from harness.gate.patch_base import base_of

    if isinstance(kernel, str):
        return kernel
    repository = Repository.find(kernel or Path.cwd())
    if repository is not None:
        return base_of(repository, patch)
    if kernel is None:
        raise UserError(f"{Path.cwd()} is in no git tree of a kernel; --base names another kernel")
    return kernel


class _Silent:
    """A `Progress` for whoever takes each line on standard error for a failure, as b4 does."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def steps(self, title: str, total: int) -> Iterator[Advance]:
        """Nothing."""
        yield lambda done: None


def _progress() -> Progress:
    from harness.host.progress import LineProgress

    return LineProgress() if sys.stderr.isatty() else _Silent()
