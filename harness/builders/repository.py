# SPDX-License-Identifier: MIT
"""A kernel developer's own git tree, which is only read: commits, and what is not committed.

git writes behind its user's back: its index when it compares (``git diff``, ``git status``),
objects when a partial clone lacks some. So each call works on a copy of the index, takes no
optional lock, and may fetch nothing (git(1), ``GIT_OPTIONAL_LOCKS``, ``GIT_ALLOW_PROTOCOL``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.errors import UserError
from harness.host.git import RUNS_NOTHING
from harness.host.process import capture
from harness.host.project import is_kernel

# No program of the repository's is run, and none of its settings changes how a diff looks.
_SETTINGS = (
    *RUNS_NOTHING,
    *("-c", "core.quotePath=true"),
    # Else files whose time alone is new would differ; what is refreshed is a copy.
    *("-c", "diff.autoRefreshIndex=true"),
    *("-c", "diff.suppressBlankEmpty=false"),
    *("-c", "diff.interHunkContext=0"),
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
}
DIFF = (
    *("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("-U3", "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=all"),
)
"""Options of ``git diff`` for a patch that ``git apply`` takes, whatever the user's settings."""
HOOK_INDEX = "GIT_INDEX_FILE"
"""git tells a hook in it which index the commit is made from (githooks(5))."""
_MODES = {"100644": 0o644, "100755": 0o755, "120000": 0}
_SUBMODULE = "160000"


@dataclasses.dataclass(frozen=True)
class TreeFile:
    """What git knows of a file of a commit."""

    mode: int
    """0o644 or 0o755; 0 for a symbolic link."""
    blob: str
    """The object's id, as hex."""


@dataclasses.dataclass(frozen=True)
class Repository:
    """A kernel in a git tree."""

    top: Path
    """Where git's work tree begins."""
    prefix: str = ""
    """The directory of the kernel below it, with a slash at its end; empty for the top itself."""

    @classmethod
    def find(cls, place: Path) -> Repository | None:
        """The git tree of the kernel that the directory `place` is in; None where there is none."""
        root = next((path for path in (place, *place.parents) if is_kernel(path)), None)
        if root is None:
            return None
        status, output, _ = _run(root, ("rev-parse", "--show-toplevel", "--show-prefix"))
        lines = os.fsdecode(output).split("\n")
        return cls(Path(lines[0]), lines[1]) if status == 0 and lines[0] else None

    @property
    def root(self) -> Path:
        """The kernel's own directory."""
        return self.top / self.prefix

    @property
    def algorithm(self) -> str:
        """What object ids are made with, as `hashlib` names it: ``sha1``, ``sha256``."""
        said = _run(self.root, ("rev-parse", "--show-object-format"))[1].decode().strip()
        return said if said in ("sha1", "sha256") else "sha1"

    def git(self, *words: str, data: bytes = b"", index: Path | None = None) -> bytes:
        """What git says in the kernel's directory. Raises `UserError` with git's reason."""
        status, output, errors = _run(self.root, words, data, index)
        if status != 0:
            reason = errors.strip().partition("\n")[0] or f"exit status {status}"
            raise UserError(f"git {words[0]} in {self.root}: {reason}{_missing(errors)}")
        return output

    # Commits

    def commit(self, name: str) -> str:
        """The full id of a commit. Raises `UserError` where there is none of that name."""
        found = self._resolve(f"{name}^{{commit}}") if not name.startswith("-") else ""
        if not found:
            if name == "HEAD":
                raise UserError(f"{self.root} has no commit yet: there is nothing to compare with")
            raise UserError(f"{self.root} has no commit {name}{self._shallow()}")
        return found

    def is_commit(self, name: str) -> bool:
        """Whether `name` names a commit here."""
        return not name.startswith("-") and bool(self._resolve(f"{name}^{{commit}}"))

    def parent(self, name: str) -> str:
        """The commit before `name`; of a merge the first. Raises `UserError`."""
        commit = self.commit(name)
        found = self._resolve(f"{commit}^")
        if not found:
            why = self._shallow() or ": it is the first one, so there is nothing to compare with"
            raise UserError(f"{name} ({commit[:12]}) has no commit before it in {self.root}{why}")
        return found

    def upstream(self, branch: str) -> str:
        """The name of a local branch's upstream; empty where it is no branch.

        Raises `UserError` for a branch without one.
        """
        if not self._resolve(f"refs/heads/{branch}"):
            return ""
        status, output, _ = _run(self.root, ("rev-parse", "--abbrev-ref", f"{branch}@{{upstream}}"))
        if status != 0:
            raise UserError(
                f"the branch {branch} has no upstream to compare with: say from where"
                f" (MAIN..{branch}), or set it (git branch --set-upstream-to=MAIN {branch})"
            )
        return os.fsdecode(output).strip()

    def merge_base(self, one: str, other: str) -> str:
        """The newest commit that both have. Raises `UserError` where there is none."""
        status, output, _ = _run(self.root, ("merge-base", self.commit(one), self.commit(other)))
        if status != 0:
            raise UserError(f"{one} and {other} have no commit in common{self._shallow()}")
        return output.decode().strip()

    def between(self, base: str, tip: str) -> list[str]:
        """The commits from `base`, which is not among them, to `tip`, the oldest first."""
        words = ("rev-list", "--reverse", "--first-parent", f"{base}..{tip}", "--")
        return self.git(*words).decode().split()

    def title(self, commit: str) -> tuple[str, str]:
        """A commit's subject, and its author."""
        said = self.git("log", "-1", "--no-show-signature", "--format=%s%x00%an <%ae>", commit)
        subject, _, author = said.decode("utf-8", "replace").strip().partition("\0")
        return subject, author

    def _resolve(self, name: str) -> str:
        status, output, _ = _run(self.root, ("rev-parse", "--verify", "--quiet", name))
        return output.decode().strip() if status == 0 else ""

    def _shallow(self) -> str:
        said = _run(self.root, ("rev-parse", "--is-shallow-repository"))[1]
        return ", which is shallow: git fetch --deepen=N has more" if said == b"true\n" else ""

    # Content

    def files(self, commit: str) -> dict[str, TreeFile]:
        """All files of the kernel at a commit, by their paths in it; no submodules."""
        listed = self.git("ls-tree", "-r", "-z", "--full-tree", f"{commit}:{self.prefix}")
        found: dict[str, TreeFile] = {}
        for entry in listed.decode("utf-8", "surrogateescape").split("\0"):
            if not entry:
                continue
            words, _, name = entry.partition("\t")
            mode, _, blob = words.split(" ")
            if mode != _SUBMODULE:
                found[name] = TreeFile(_MODES.get(mode, 0o644), blob)
        return found

    def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """The objects of these ids. Raises `UserError` where one is missing (a partial clone)."""
        asked = list(dict.fromkeys(blobs))
        if not asked:
            return {}
        output = self.git("cat-file", "--batch", data="".join(f"{b}\n" for b in asked).encode())
        found: dict[str, bytes] = {}
        at = 0
        for blob in asked:
            end = output.index(b"\n", at)
            words = output[at:end].split()
            if len(words) != 3:
                raise UserError(f"{self.root} lacks the object {blob}{_PARTIAL}")
            size = int(words[2])
            found[blob] = output[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found

    def text(self, commit: str, path: str) -> str:
        """A file of a commit. Raises `UserError`."""
        return self.git("show", f"{commit}:{self.prefix}{path}").decode("utf-8", "replace")

    def changes(self, old: str, new: str) -> bytes:
        """What differs between two commits, as a diff."""
        return self.git("diff", "--relative", *DIFF, old, new, "--")

    def changed_paths(self) -> list[str]:
        """The files that differ from HEAD in the work tree; as `uncommitted`."""
        self.commit("HEAD")
        with self._index() as index:
            words = ("diff", "--relative", "--name-only", "-z", "--no-renames", "--no-ext-diff")
            asked = (*words, "--ignore-submodules=all", "HEAD", "--")
            listed = self.git(*asked, index=index).decode("utf-8", "surrogateescape")
        return sorted({name for name in listed.split("\0") if name})

    def uncommitted(self, *, staged: bool = False) -> bytes:
        """What differs from HEAD, as a diff: in the work tree, or in the index alone.

        Raises `UserError` where a merge has left conflicts.
        """
        self.commit("HEAD")
        with self._index() as index:
            if self.git("ls-files", "--unmerged", index=index):
                raise UserError(f"{self.root} has files with conflicts: resolve them first")
            words = ("diff", "--relative", *DIFF, *(("--cached",) if staged else ()), "HEAD", "--")
            return self.git(*words, index=index)

    def untracked(self) -> list[str]:
        """The files that git does not know and does not ignore; paths in the kernel."""
        with self._index() as index:
            words = ("ls-files", "-z", "--others", "--exclude-standard")
            listed = self.git(*words, index=index).decode("utf-8", "surrogateescape")
        return sorted(name for name in listed.split("\0") if name and not name.endswith("/"))

    @contextlib.contextmanager
    def _index(self) -> Iterator[Path]:
        """A copy of the index, for one call: what git writes to it is lost."""
        named = os.environ.get(HOOK_INDEX)
        place = Path(named or os.fsdecode(self.git("rev-parse", "--git-path", "index")).strip())
        place = self.top / place if named else self.root / place
        # git gives the other half of a split index the time of now when it reads it.
        times = {path: path.stat() for path in place.parent.glob("sharedindex.*")}
        with tempfile.TemporaryDirectory(prefix="harness-index.") as directory:
            copy = Path(directory) / "index"
            # With its time: by that git knows which files it must look into (racy-git).
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(place, copy)
            try:
                yield copy
            finally:
                for path, status in times.items():
                    with contextlib.suppress(OSError):
                        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


_PARTIAL = " (a partial clone?): git fetch --refetch --no-filter has it"


def _missing(errors: str) -> str:
    lost = re.search(r"promisor|missing blob|unable to read|transport 'none'|not allowed", errors)
    return _PARTIAL if lost else ""


def _run(
    place: Path, words: Iterable[str], data: bytes = b"", index: Path | None = None
) -> tuple[int, bytes, str]:
    variables: Mapping[str, str] = _ENVIRONMENT | ({HOOK_INDEX: str(index)} if index else {})
    given = [f"{name}={value}" for name, value in variables.items()]
    return capture(["env", *given, "git", *_SETTINGS, "-C", place, *words], data=data)
