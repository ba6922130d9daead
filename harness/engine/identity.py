# SPDX-License-Identifier: MIT
"""What two machines must have in common so that one can work for the other: the project's code and
tests, QEMU, and the compilers that are part of the cache's keys.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from harness.host import programs, project
from harness.host.facts import DIRTY, host_facts, project_commit

_PREFIX = "harness"
_PLAIN = re.compile(r"[^A-Za-z0-9.+~-]+")
_TESTS = ("*.py", "*.txt", "*.patch")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a machine works with."""

    commit: str
    code: str
    """Digest of the project's files, whatever the commit is called."""
    qemu: str
    toolchain: str

    @property
    def resource(self) -> str:
        """A word that names it all: what a worker offers, and a task asks for."""
        words = (self.commit, self.code, self.qemu, self.toolchain)
        return "/".join((_PREFIX, *(_PLAIN.sub("-", word) for word in words)))

    def differences(self, other: Identity) -> str:
        """What is not the same in `other`, for a message; empty where all is."""
        names = {"commit": "commit", "code": "files", "qemu": "QEMU", "toolchain": "compilers"}
        found = []
        for field, name in names.items():
            there, here = getattr(other, field), getattr(self, field)
            if there != here:
                found.append(f"{name} {there or 'none'}, here {here or 'none'}")
        return "; ".join(found)


def parse(resource: str) -> Identity | None:
    """The identity that a worker offers by this name; None for another resource."""
    prefix, *words = resource.split("/")
    return Identity(*words) if prefix == _PREFIX and len(words) == 4 else None


@functools.cache
def identity() -> Identity:
    """This machine's."""
    made = Identity(
        project_commit().removesuffix(DIRTY)[:12],
        code_digest(),
        host_facts()["QEMU"],
        hashlib.sha256(programs.toolchain().encode()).hexdigest()[:8],
    )
    # As the others get it: in the letters of a resource's name.
    return parse(made.resource) or made


def code_digest() -> str:
    """Digest of all files of the project that decide what a task does, 12 hex digits."""
    found = hashlib.sha256()
    for path in sorted(set(_files())):
        found.update(str(path.relative_to(_base(path))).encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:12]


def _base(path: Path) -> Path:
    return project.ROOT if path.is_relative_to(project.ROOT) else project.PYTHON_PATH


def _files() -> Iterator[Path]:
    yield from (project.PYTHON_PATH / "harness").rglob("*.py")
    for directory in (project.IMAGES, project.ROOT / "tests"):
        for path in directory.rglob("*"):
            usual = path.is_file() and "__pycache__" not in path.parts
            if usual and (directory == project.IMAGES or any(map(path.match, _TESTS))):
                yield path
    if (project.ROOT / "pytest.ini").is_file():
        yield project.ROOT / "pytest.ini"
