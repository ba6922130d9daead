# SPDX-License-Identifier: MIT
"""Mutants against the tests that a gate would choose for them, instead of those that they name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.builders.patch_tree import PatchTree
from harness.gate.change import change_in
from harness.gate.selection import Evidence, Selection, select
from harness.host.files import write_text
from harness.imageset.model import ImageSet


@dataclasses.dataclass(frozen=True)
class Chooser:
    """Chooses tests by what those of the unchanged system executed."""

    evidence: Evidence
    unchanged: ImageSet

    def choose(self, tree: PatchTree, images: ImageSet, to: Path) -> tuple[Selection, Path]:
        """The tests for what was just built in `tree`, and a file in `to` that names them.

        To be called before the tree is restored.
        """
        chosen = select(self.evidence, change_in(tree, self.unchanged, images))
        path = to / "select.txt"
        write_text(path, "".join(f"{test}\n" for test in chosen.tests))
        return chosen, path
