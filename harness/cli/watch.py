# SPDX-License-Identifier: MIT
"""``harness watch``: a verdict at each save."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.watch.events import Event
    from harness.watch.job import Settings


@click.command(
    epilog="Keys: r again, a all tests, s shell in the failing test's machine, g the same with gdb,"
    " o open the report, q quit. With --once the exit status is 0 passed, 1 failed, 2 nothing to"
    " judge, 3 infrastructure."
)
@click.argument("directory", metavar="[DIR]", type=options.PATH, required=False)
@click.option("--once", is_flag=True, help="Judge what is there now, and end.")
@click.option("--select", metavar="FILE", type=options.PATH, help="Run the tests that it names.")
@options.config
@options.output("Where images, logs and results go.")
@options.jobs("Make's jobs and the tests' processes.")
@options.unconfined
@options.debug
def command(
    directory: Path | None,
    once: bool,
    select: Path | None,
    config: tuple[Path, ...],
    output: Path | None,
    jobs: int,
) -> int:
    """Build, boot and test at each save in the git tree of a kernel (default: where you are).

    What differs from the last commit is built in a copy that stays warm; the tree is only read.
    A new save ends the run that is under way. The tests are those that execute what was changed.
    """
    from harness.builders.repository import Repository
    from harness.errors import UserError
    from harness.host.output import claim
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS
    from harness.watch.job import Settings

    place = directory or Path.cwd()
    repository = Repository.find(place)
    if repository is None:
        raise UserError(f"{place} is in no git tree of a kernel")
    if select is not None and not select.is_file():
        raise UserError(f"--select {select}: there is no such file")
    repository.commit("HEAD")
    check_installed()
    to = (output or ARTIFACTS / "watch").absolute()
    claim(to)
    settings = Settings(repository, to, jobs, config, select)
    return _watch(settings, once=once)


def _watch(settings: Settings, *, once: bool) -> int:
    from harness.watch.app import App, threads
    from harness.watch.events import Outcome
    from harness.watch.keys import Keys
    from harness.watch.process import WorkerProcess
    from harness.watch.screen import Lines, Live
    from harness.watch.worker import settings_text

    root = settings.repository.root
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    screen = Live(sys.stdout) if terminal and not once else Lines(sys.stdout)
    log = settings.output / "worker.log"
    with log.open("ab") as errors, contextlib.ExitStack() as stack:
        app: App
        worker = WorkerProcess(settings_text(settings), errors, lambda event: app.told(event))
        app = App(str(root), screen, worker, _Programs())
        stack.callback(worker.close)
        stack.callback(screen.pause)
        if not once:
            keys = stack.enter_context(Keys(sys.stdin.fileno())) if terminal else None
            app.keys = keys
            stack.enter_context(threads(app, root, keys))
        app.run(once=once)
    if not once or app.last is None:
        return 0
    status = {Outcome.PASSED: 0, Outcome.NOTHING: 2, Outcome.UNKNOWN: 3}
    return status.get(app.last.outcome or Outcome.UNKNOWN, 1)


class _Programs:
    """What the keys open."""

    def shell(self, event: Event, *, gdb: bool) -> None:
        """The machine of the first failing test, as that left it."""
        words = ["shell", "--test", event.test, "--image-set", event.images]
        words += ["--gdb"] if gdb else []
        subprocess.run([sys.executable, "-m", "harness", *words], check=False)

    def report(self, event: Event) -> None:
        """The run's log, in the user's pager."""
        pager = shlex.split(os.environ.get("PAGER") or "less")
        place = Path(event.report)
        found = [path for path in (place / "report.txt", place / "pytest.log") if path.is_file()]
        with contextlib.suppress(OSError):
            subprocess.run([*pager, str(found[0] if found else place)], check=False)
