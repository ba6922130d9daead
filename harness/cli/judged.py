# SPDX-License-Identifier: MIT
"""What a command is to judge: patches that are given, or changes in the user's own git tree."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.builders.kept_trees import Base
    from harness.builders.repository import Repository
    from harness.gate.inputs import Input
    from harness.gate.own_tree import Change


@dataclasses.dataclass(frozen=True)
class Asked:
    """What was typed."""

    words: tuple[str, ...]
    """Files, ``-``, or names of commits."""
    kernel: str | Path | None
    span: str | None = None
    """``--range``."""
    staged: bool = False

    def check(self) -> None:
        """Raises `UserError` where nothing is to be judged: no earlier verdict is written over."""
        self.check_base()
        if self.span and self.words:
            raise UserError("give patches, or a --range of commits, not both")
        if self.staged and (self.words or self.span):
            raise click.UsageError(
                "--staged is what is staged: give no patch and no commits with it"
            )
        if not self.words and not self.span and self._repository() is None:
            raise UserError(
                f"no patch was given, and {self._place()} is in no git tree of a kernel; - reads a"
                " patch from the standard input"
            )

    def check_base(self) -> None:
        """Raises `UserError` for a kernel that cannot be built."""
        if isinstance(self.kernel, Path) and not self.kernel.is_dir():
            raise UserError(f"--kernel {self.kernel}: a version or a kernel tree is needed here")

    def read(self) -> tuple[Base, list[Input]]:
        """The base and the patches; what the user should know is said. Raises `UserError`."""
        from harness.builders.kernel_source import at_commit
        from harness.gate import inputs

        if self.span:
            if not isinstance(self.kernel, Path):
                raise UserError("--range A..B needs the git tree: --kernel DIR")
            base, found = inputs.commits(self.kernel, self.span)
            return at_commit(self.kernel, base), found
        repository = self._repository()
        if repository is not None and (change := self._change(repository)) is not None:
            _say(f"on {change.base}", *change.notes)
            return change.base, list(change.patches)
        found = inputs.read([Path(word) for word in self.words])
        _say(*(note for patch in found for note in patch.notes))
        return self.base(), found

    def base(self) -> Base:
        """The kernel that patches are for; that it is the user's own tree is said. Raises
        `UserError`.
        """
        from harness.builders.own_tree import CommitTree

        repository = self._repository()
        if repository is None or self.kernel is not None:
            return self.kernel
        tree = CommitTree(repository, repository.commit("HEAD"))
        _say(f"on {tree}, the git tree that you are in (--base takes another kernel)")
        return tree

    def _change(self, repository: Repository) -> Change | None:
        """What is to be judged of a git tree; None for patches that are given."""
        from harness.gate import own_tree

        if not self.words:
            return own_tree.uncommitted(repository, staged=self.staged)
        names = [word for word in self.words if word != "-" and not Path(word).exists()]
        if not names:
            return None
        if len(self.words) > 1:
            if any(".." in name or repository.is_commit(name) for name in names):
                raise UserError("give the files of patches, or one range of commits (A..B)")
            return None
        name = names[0]
        if ".." not in name and not repository.is_commit(name):
            raise UserError(
                f"{name}: there is no such file, and no such commit in {repository.root}"
            )
        return own_tree.revisions(repository, name)

    def _place(self) -> Path:
        return self.kernel if isinstance(self.kernel, Path) else Path.cwd()

    def _repository(self) -> Repository | None:
        """The git tree that is meant; None where another kernel is."""
        from harness.builders.repository import Repository

        return None if isinstance(self.kernel, str) else Repository.find(self._place())


def _say(*lines: str) -> None:
    from harness.cli.systems import say

    for line in lines:
        say(line)
