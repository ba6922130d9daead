# SPDX-License-Identifier: MIT
"""Files laid over a built tree, so that it becomes that of another commit; only what differs.

make goes by times: each file that changes gets the time of now, and no other is touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from harness.builders import additions
from harness.builders.mirror import below, remove
from harness.builders.repository import Repository, TreeFile
from harness.errors import BuildError, UserError
from harness.host import confine
from harness.host.files import write_text

BUILD = "obj"
"""The build directory in a tree of ours; no source is there."""


@dataclasses.dataclass(frozen=True)
class FileContent:
    """A file to be laid."""

    data: bytes
    mode: int
    """As `TreeFile.mode`: 0 for a symbolic link, of which `data` is the target."""

    def blob(self, algorithm: str = "sha1") -> str:
        """The id that git gives it (gitformat-pack(5))."""
        return blob_id(self.data, algorithm)


Overlay = Mapping[str, FileContent | None]
"""By path in the kernel; None: there is no such file."""


def blob_id(data: bytes, algorithm: str = "sha1") -> str:
    """git's id of a file's content."""
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data).hexdigest()


def tree_files(tree: Path, without: Collection[str], algorithm: str) -> dict[str, TreeFile]:
    """All files of a directory as git would have them, but its build directory and `without`."""
    found = {}
    for directory, subdirectories, names in os.walk(tree):
        place = os.path.relpath(directory, tree)
        if place == ".":
            subdirectories[:] = [name for name in subdirectories if name not in (BUILD, ".git")]
        links = [name for name in subdirectories if Path(directory, name).is_symlink()]
        for name in (*names, *links):
            path = os.path.normpath(f"{place}/{name}")
            if path not in without:
                content = read(Path(directory, name))
                found[path] = TreeFile(content.mode, content.blob(algorithm))
    return found


def read(path: Path) -> FileContent:
    """A file, or a symbolic link, as it is on the disk. Raises `OSError`."""
    if path.is_symlink():
        # Not as a Path: that would leave out each "./" of it.
        return FileContent(os.fsencode(os.readlink(path)), 0)  # noqa: PTH115
    mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return FileContent(path.read_bytes(), mode)


def indexed(
    tree: Path, index: Path, without: Collection[str], algorithm: str
) -> dict[str, TreeFile]:
    """`tree_files` of a tree that does not change, kept in the file `index`."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(index.read_text())
        if kept["algorithm"] == algorithm and kept["without"] == sorted(without):
            return {path: TreeFile(int(mode), blob) for path, (mode, blob) in kept["files"].items()}
    found = tree_files(tree, without, algorithm)
    files = {path: (file.mode, file.blob) for path, file in found.items()}
    content = {"algorithm": algorithm, "without": sorted(without), "files": files}
    with contextlib.suppress(OSError):  # it is only slower next time
        write_text(index, json.dumps(content))
    return found


def differing(have: Mapping[str, TreeFile], wanted: Mapping[str, TreeFile]) -> list[str]:
    """The paths that are not the same in both."""
    return sorted(path for path in {*have, *wanted} if have.get(path) != wanted.get(path))


def of_commit(
    repository: Repository, wanted: Mapping[str, TreeFile], paths: Collection[str]
) -> dict[str, FileContent | None]:
    """What these paths hold at a commit whose files are `wanted`. Raises `UserError`."""
    there = {path: wanted[path] for path in paths if path in wanted}
    contents = repository.contents(file.blob for file in there.values())
    found: dict[str, FileContent | None] = dict.fromkeys(paths)
    for path, file in there.items():
        found[path] = FileContent(contents[file.blob], file.mode)
    return found


def check_additions(root: Path | None, wanted: Mapping[str, TreeFile], algorithm: str) -> None:
    """Raises `UserError` where a commit has another file where one of ours would be."""
    for name, path in additions.files(root):
        if name in wanted and wanted[name].blob != blob_id(path.read_bytes(), algorithm):
            raise UserError(f"this kernel tree has a file {name} of its own, where ours would be")


class Layer:
    """The overlay of one tree, a copy of `origin`: what is laid there now."""

    def __init__(self, tree: Path, origin: Path) -> None:
        self._tree = tree
        self._origin = origin
        self._laid: dict[str, FileContent | None] = {}

    def forget(self) -> None:
        """The tree has been restored: nothing is laid on it."""
        self._laid.clear()

    def lay(self, overlay: Overlay) -> list[str]:
        """Makes the tree `origin` with `overlay`; the paths that were written or removed.

        Raises `BuildError` for a tree in which a build has put links in the way.
        """
        changed = []
        for path in sorted({*self._laid, *overlay}):
            wanted = overlay[path] if path in overlay else self._original(path)
            have = self._laid[path] if path in self._laid else self._original(path)
            if wanted != have:
                self._write(path, wanted)
                changed.append(path)
        self._laid = dict(overlay)
        return changed

    def before(self, path: str) -> FileContent | None:
        """What a path holds as it was laid, or in the origin; None for nothing."""
        return self._laid[path] if path in self._laid else self._original(path)

    def _original(self, path: str) -> FileContent | None:
        place = self._origin / path
        if place.is_dir() and not place.is_symlink():
            return None
        try:
            return read(place)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write(self, path: str, content: FileContent | None) -> None:
        parent, _, name = path.rpartition("/")
        directory = below(self._tree, parent or ".")
        if directory is None or directory != self._tree.resolve() / parent:
            raise BuildError(f"{path}: a link leads out of the tree there")
        place = directory / name
        if content is None:
            if place.exists() or place.is_symlink():
                remove(place)
            return
        for missing in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
            missing.mkdir()
            confine.give(missing)
        if place.exists() or place.is_symlink():
            remove(place)
        if content.mode == 0:
            place.symlink_to(os.fsdecode(content.data))
        else:
            place.write_bytes(content.data)
            place.chmod(content.mode)
        confine.give(place)
