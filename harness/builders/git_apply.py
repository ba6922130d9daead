# SPDX-License-Identifier: MIT
"""Applies a patch as git does: exactly, by a three-way merge, or with less context than it has.

The ``index`` lines of a patch name the blobs that it was made against. Where a repository has them,
the patch is applied to them, and what it changes is merged into the tree's files, as ``git am
--3way`` does. That happens in a repository of its own, which only reads the objects of the other.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.builders.process import ToolRunner
from harness.errors import BuildError
from harness.host import confine
from harness.host.process import capture

# Another user's repository may be read, and no program of it is run.
_OPTIONS = (
    *("-c", "safe.directory=*"),
    *("-c", "core.autocrlf=false"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
)


@dataclasses.dataclass(frozen=True)
class Apply:
    """One patch, to be applied in the directory `place`."""

    runner: ToolRunner
    place: Path
    patch: Path
    name: str
    """For messages."""

    def exactly(self) -> None:
        """All of its context must be there, at whatever line. Raises `BuildError`: nothing has
        changed then.
        """
        self._run(self.patch)

    def loosely(self, paths: Sequence[str], repository: Path | None) -> str:
        """By a merge where `repository` has the blobs, else with a line of context on each side.

        `paths` are the files that it names. Returns what was done; empty where it does not apply.
        """
        if repository is not None:
            work = self.runner.build_dir.tmp / "three-way"
            exact = merged(self.patch, paths, self.place, repository, work)
            if exact is not None:
                confine.give(exact)
                self._run(exact)
                return f"{self.name}: merged with the blobs that it was made against (three-way)"
        try:
            said = self._run(self.patch, "-C1", "--verbose")
        except BuildError:
            return ""
        return f"{self.name}: applied with less context than it has (fuzz): {'; '.join(said)}"

    def _run(self, patch: Path, *options: str) -> list[str]:
        """What ``git apply`` says of how hunks went in. Raises `BuildError`."""
        # Not the repository in which the cache may be.
        ceiling = f"GIT_CEILING_DIRECTORIES={self.place.resolve().parent}"
        words = ["env", ceiling, "git", "apply", "--whitespace=nowarn"]
        said: list[str] = []
        argv: list[str | Path] = [*words, *options, patch]
        self.runner.run(argv, f"applying {self.name}", self.place, said.append)
        return [line for line in said if line.startswith(("Hunk #", "Context reduced"))]


def merged(
    patch: Path, paths: Sequence[str], tree: Path, repository: Path, work: Path
) -> Path | None:
    """`patch` as it applies to `tree` exactly, in a file beside the directory `work`, which must
    not exist; None where `repository` does not have the blobs, or the merge has conflicts.

    `paths` are the files that it names. Nothing else is written.
    """
    objects = _git(repository, "rev-parse", "--git-path", "objects")
    if objects is None:
        return None
    work.mkdir(parents=True)
    if _git(work, "init", "-q") is None:
        return None
    place = (repository / objects.strip()).resolve()
    (work / ".git" / "objects" / "info" / "alternates").write_text(f"{place}\n")
    for path in paths:
        # Whatever is no plain file there is left to git, which refuses it.
        if (tree / path).is_file() and not (tree / path).is_symlink():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / path, work / path)
            (work / path).chmod((tree / path).stat().st_mode & 0o755)
    _git(work, "add", "-A", "-f", ".")
    before = _git(work, "write-tree")
    if before is None or _git(work, "apply", "--3way", "--whitespace=nowarn", patch) is None:
        return None
    diff = _git(work, "diff", "--cached", "--binary", "--no-renames", before.strip())
    if not diff:
        return None
    result = work.with_suffix(".patch")
    result.write_text(diff, errors="surrogateescape")
    return result


def _git(directory: Path, *words: str | Path) -> str | None:
    """What git says; None where it fails."""
    status, output, _ = capture(["git", *_OPTIONS, "-C", directory, *words])
    return output.decode(errors="surrogateescape") if status == 0 else None
