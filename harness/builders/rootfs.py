# SPDX-License-Identifier: MIT
"""Makes the initramfs from ``images/rootfs/manifest.toml`` (its comment has the format)."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.builders import cpio
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.cpio import Member
from harness.builders.kernel import file_digest
from harness.errors import UserError
from harness.host import project

MANIFEST = project.IMAGES / "rootfs" / "manifest.toml"
_NODES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}


def rootfs_key(manifest: Path, release: str, artefacts: Mapping[str, str]) -> Key:
    """Key of the initramfs; `artefacts` maps names such as ``app`` to slugs of entries."""
    directory = manifest.parent
    inputs = {path.name: file_digest(path) for path in sorted(directory.iterdir())}
    return Key("rootfs", {**inputs, "release": release, **dict(artefacts), "format": "newc 1"})


def build_rootfs(
    cache: Cache,
    release: str,
    artefacts: Mapping[str, tuple[Key, Path]],
    manifest: Path = MANIFEST,
) -> tuple[Key, Path]:
    """The initramfs, uncompressed. Raises `UserError` where the manifest is wrong."""
    key = rootfs_key(manifest, release, {name: key.slug for name, (key, _) in artefacts.items()})
    files = {name: path for name, (_, path) in artefacts.items()}

    def build(build_dir: BuildDirectory) -> None:
        members = read_manifest(manifest, release, files)
        (build_dir.out / "initramfs.cpio").write_bytes(cpio.archive(members))

    return key, cache.entry(key, build) / "initramfs.cpio"


def read_manifest(manifest: Path, release: str, artefacts: Mapping[str, Path]) -> list[Member]:
    """The members that a manifest describes. Raises `UserError` naming the entry that is wrong."""
    try:
        entries = tomllib.loads(manifest.read_text())["entry"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UserError(f"{manifest}: {error}") from error
    found: dict[str, Member] = {}
    for entry in entries:
        try:
            for member in _members(entry, manifest.parent, release, artefacts):
                _add(found, member)
        except (KeyError, ValueError, OSError) as error:
            raise UserError(f"{manifest}: entry {entry.get('path')}: {error!r}") from error
    return list(found.values())


def _add(found: dict[str, Member], member: Member) -> None:
    if member.path in found:
        raise ValueError(f"/{member.path} is there already")
    parent = member.path.rpartition("/")[0]
    # The kernel makes no directories by itself when it unpacks an initramfs.
    if parent and not (parent in found and stat.S_ISDIR(found[parent].mode)):
        raise ValueError(f"the directory /{parent} does not come before /{member.path}")
    found[member.path] = member


def _members(
    entry: Mapping[str, Any], directory: Path, release: str, artefacts: Mapping[str, Path]
) -> Iterator[Member]:
    path = str(entry["path"]).replace("{release}", release).strip("/")
    kind = entry["type"]
    if kind == "dir":
        yield Member(path, stat.S_IFDIR | int(entry["mode"], 8))
    elif kind == "file":
        source = str(entry["source"])
        file = artefacts[source[1:]] if source.startswith("@") else directory / source
        yield Member(path, stat.S_IFREG | int(entry["mode"], 8), file.read_bytes())
    elif kind == "files":
        for file in sorted(artefacts[str(entry["source"])[1:]].iterdir()):
            yield Member(
                f"{path}/{file.name}", stat.S_IFREG | int(entry["mode"], 8), file.read_bytes()
            )
    elif kind == "link":
        yield Member(path, stat.S_IFLNK | 0o777, str(entry["target"]).encode())
    elif kind == "node":
        letter, major, minor = str(entry["node"]).split()
        mode = _NODES[letter] | int(entry["mode"], 8)
        yield Member(path, mode, device=(int(major), int(minor)))
    elif kind == "applets":
        for name in entry["names"]:
            yield Member(f"{path}/{name}", stat.S_IFLNK | 0o777, str(entry["target"]).encode())
    else:
        raise ValueError(f"unknown type {kind!r}")
