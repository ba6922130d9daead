# SPDX-License-Identifier: MIT
"""Kernel patches, each with a condition that says when a tree has it already.

In the message of a patch: ``Skip-if: REGEX in FILE``. The regular expression is Python's, ``^`` and
``$`` match at lines; FILE is relative to the tree.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from harness.builders.process import ToolRunner
from harness.errors import UserError
from harness.host.process import capture


@dataclasses.dataclass(frozen=True)
class Condition:
    """When a patch is not needed."""

    pattern: re.Pattern[str]
    file: str

    def holds(self, tree: Path) -> int | None:
        """Line number in `file` where the tree has it (from 1); None where it has not."""
        try:
            text = (tree / self.file).read_text(errors="replace")
        except OSError:
            return None
        match = self.pattern.search(text)
        return None if match is None else text.count("\n", 0, match.start()) + 1


@dataclasses.dataclass(frozen=True)
class Patch:
    """A patch file."""

    path: Path
    conditions: tuple[Condition, ...]


def read_patch(path: Path) -> Patch:
    """Reads a patch and its conditions. Raises `UserError` on a condition that cannot be parsed."""
    message = re.split(r"(?m)^(?:---|diff --git)", path.read_text(errors="replace"), maxsplit=1)[0]
    conditions = []
    for number, line in enumerate(message.splitlines(), 1):
        if not line.startswith("Skip-if:"):
            continue
        pattern, separator, file = line.removeprefix("Skip-if:").strip().rpartition(" in ")
        where = f"{path}:{number}: {line!r}"
        if not separator or not pattern.strip() or file.startswith("/") or ".." in file.split("/"):
            raise UserError(f"{where}: expected `Skip-if: REGEX in FILE`, FILE inside the tree")
        try:
            compiled = re.compile(pattern.strip(), re.MULTILINE)
        except re.error as error:
            raise UserError(f"{where}: not a regular expression: {error}") from error
        conditions.append(Condition(compiled, file.strip()))
    return Patch(path, tuple(conditions))


def apply(patch: Patch, tree: Path, tools: ToolRunner) -> str:
    """Applies `patch` to `tree`, or skips it where the tree has it; returns what was done.

    Raises `BuildError` with patch's complaint where it does not apply.
    """
    for condition in patch.conditions:
        line = condition.holds(tree)
        if line is not None:
            return f"{patch.path.name}: skipped, the tree has it ({condition.file}:{line})"
    # No fuzz: our patches have as little context as can be, and with fuzz they would go anywhere.
    argv = ["patch", "-p1", "-F0", "--batch", "-r", "-", "-i", str(patch.path)]
    # A tree that somebody applied this very patch to.
    if capture([*argv, "-R", "--force", "--dry-run"], cwd=tree)[0] == 0:
        return f"{patch.path.name}: skipped, the tree has it (all of it can be taken off again)"
    tools.run(
        [*argv, "--forward", "--no-backup-if-mismatch"],
        f"applying {patch.path.name} to the kernel",
        cwd=tree,
    )
    return f"{patch.path.name}: applied"
