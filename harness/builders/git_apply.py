# SPDX-License-Identifier: MIT
"""Applies a patch as git does: exactly, by a three-way merge, or with less context than it has.

The ``index`` lines of a patch name the blobs that it was made against. Where a repository has them,
the patch is applied to them, and what it changes is merged into the tree's files, as ``git am
--3way`` does. That happens in a repository of its own, which only reads the objects of the other.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.builders.process import ToolRunner
from harness.errors import BuildError
from harness.host import confine, tool
from harness.host.git import RUNS_NOTHING
from harness.host.process import capture

_OPTIONS = (*RUNS_NOTHING, "-c", "core.autocrlf=false")


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


# Blobs that it was made against, the files as they are, and what is merged: one run, confined.
_MERGE = """set -e
cd tree
git init -q --object-format="$1"
for blob in ../blobs/*; do git hash-object -w --no-filters "$blob" >/dev/null; done
git add -A -f . >/dev/null
before=$(git write-tree)
git apply --3way --whitespace=nowarn ../patch >/dev/null
git diff --cached --binary --no-renames "$before"
"""
_BLOB = re.compile(r"^index ([0-9a-f]{7,64})\.\.", re.MULTILINE)


def merged(
    patch: Path, paths: Sequence[str], tree: Path, repository: Path, work: Path
) -> Path | None:
    """`patch` as it applies to `tree` exactly, in a file beside the directory `work`, which must
    not exist; None where `repository` does not have the blobs, or the merge has conflicts.

    `paths` are the files that it names. Nothing else is written.
    """
    kind = _git(repository, "rev-parse", "--show-object-format")
    text = patch.read_text(errors="surrogateescape")
    (work / "tree").mkdir(parents=True)
    (work / "blobs").mkdir()
    for blob in dict.fromkeys(_BLOB.findall(text)):
        content = _git(repository, "cat-file", "blob", blob)
        if content is not None:  # else it is a new file, or git says below what is missing
            (work / "blobs" / blob).write_bytes(content)
    if kind is None or not any((work / "blobs").iterdir()):
        return None
    for path in paths:
        # Whatever is no plain file there is left to git, which refuses it.
        if (tree / path).is_file() and not (tree / path).is_symlink():
            copy = work / "tree" / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / path, copy)
            copy.chmod((tree / path).stat().st_mode & 0o755)
    shutil.copyfile(patch, work / "patch")
    words = ["sh", "-c", _MERGE, "merge", kind.decode().strip()]
    status, diff, _ = tool.capture(words, writable=[work], cwd=work)
    if status != 0 or not diff:
        return None
    result = work.with_suffix(".patch")
    result.write_bytes(diff)
    return result


def _git(directory: Path, *words: str | Path) -> bytes | None:
    """What git says of a repository; None where it fails."""
    status, output, _ = capture(["git", *_OPTIONS, "-C", directory, *words])
    return output if status == 0 else None
