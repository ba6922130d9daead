# SPDX-License-Identifier: MIT
"""The test of one commit as a task of an engine: its command, and the program that it runs."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from harness.builders.cache import Cache
from harness.engine.batch import Item, run_batch
from harness.engine.task import GUESTS, HERE, PYTHON, Done, Engine, Task
from harness.engine.watch import Watch
from harness.errors import HarnessError
from harness.gate.bisect import BisectSettings, Mark, Tested, tester
from harness.host.command import run_command
from harness.host.files import write_text
from harness.host.progress import LineProgress

SECONDS = 7200.0
RESULT = "tested.json"
_TARGETS = "targets.json"


@dataclasses.dataclass(frozen=True)
class CommitJobs:
    """Tests commits at once, each in a tree of its own."""

    engine: Engine
    settings: BisectSettings
    base: str
    """The commit that the trees are made from."""
    watch: Watch

    def test(self, commits: Sequence[str], targets: Sequence[str]) -> list[Tested]:
        """The results in the same order; a commit may be there twice.

        Raises `HarnessError` where nothing is known of one, after a second try.
        """
        items = [self._item(number, commit, targets) for number, commit in enumerate(commits)]
        found: dict[int, Tested] = {}

        def again(item: Item[int], done: Done) -> Item[int] | None:
            return item if _read(done) is None else None

        for item, done in run_batch(self.engine, items, self.watch, again):
            tested = _read(done)
            if tested is None:
                raise HarnessError(f"nothing is known of {commits[item.subject][:12]}: {done.said}")
            found[item.subject] = tested
        return [found[number] for number in range(len(commits))]

    def _item(self, number: int, commit: str, targets: Sequence[str]) -> Item[int]:
        settings = self.settings
        argv = [PYTHON, "-m", "harness.gate.commitjob", "--to", HERE, "--commit", commit]
        argv += ["--directory", str(settings.directory), "--base", self.base, "--jobs", GUESTS]
        argv += ["--boot-hang", settings.boot_hang.value]
        task = Task(
            f"{commit[:12]} ({number + 1})",
            tuple(argv),
            SECONDS,
            files={_TARGETS: json.dumps(list(targets)).encode()},
            kernels=(f"{settings.directory}@{self.base}",),
            variants=False,
            guests=settings.workers,
            claims=f"patch_tree {self.base}",
        )
        count = len(list(settings.output.glob("[0-9]*-*"))) + 1
        place = settings.output / f"{count:02d}-{commit[:12]}-{number + 1}"
        place.mkdir(parents=True)
        return Item(number, task, place)


def _read(done: Done) -> Tested | None:
    """None where nothing is known."""
    if done.trouble:
        return None
    try:
        content = json.loads((done.directory / RESULT).read_text())
        mark, tests = Mark(content["mark"]), tuple(map(str, content["tests"]))
        return Tested(str(content["commit"]), mark, str(content["why"]), tests)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Tests one commit, and leaves `RESULT`; the exit status is 0, or an error's."""
    parser = argparse.ArgumentParser()
    for name in ("--to", "--directory"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--commit", "--base", "--boot-hang"):
        parser.add_argument(name, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    given = parser.parse_args(argv)
    targets = json.loads((given.to / _TARGETS).read_text())
    mark = Mark(given.boot_hang)
    settings = BisectSettings(given.directory, given.to, mark, given.jobs)
    progress = LineProgress()
    with tester(settings, given.base, Cache(say=progress.say), progress) as made:
        tested = made.test(given.commit, targets)
    content = {**dataclasses.asdict(tested), "mark": tested.mark.value}
    write_text(given.to / RESULT, json.dumps(content) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
