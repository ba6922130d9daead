# SPDX-License-Identifier: MIT
"""Stands for ``scripts/nightly`` in a pipeline: a night of jobs that are not run.

``$LOST`` is the number of a shard that leaves nothing, ``$RED`` of one in which a test fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.cli import app
from harness.cli import nightly as cli
from tests.unit.nightly.fake import FAILED, FakeStarter

MATRIX = """
[[run]]
kernels = ["6.1", "6.12"]
memory = [256, 512]
tests = ["cma"]
"""


def main(words: list[str]) -> int:
    """A shard; or merge and report as they are."""
    if words[0] in ("merge", "report"):
        return app.main(["nightly", *words])
    shard = words[words.index("--shard") + 1].partition("/")[0]
    if shard == os.environ.get("LOST"):
        return 3
    matrix = Path("matrix.toml")
    matrix.write_text(MATRIX)
    context = cli.run_command.make_context("nightly", [*words, "--matrix", str(matrix)])
    options = cli.NightOptions(**context.params)
    names = ["6.1/256M/cma", "6.1/512M/cma", "6.12/256M/cma", "6.12/512M/cma"]
    red = {name: [FAILED] for name in names} if shard == os.environ.get("RED") else {}
    starter = FakeStarter(**red)
    return cli.run(options, lambda: starter.engine(2), lambda name: starter)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
