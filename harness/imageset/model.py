# SPDX-License-Identifier: MIT
"""The image set: everything that one machine boots and loads, wherever it came from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from harness.board import INITRAMFS_APPEND
from harness.errors import UserError
from harness.imageset.features import Feature, parse_all

_PATHS = frozenset({"kernel", "dtb", "initrd", "module", "app", "vmlinux", "system_map", "disk"})
PARTS = ("kernel", "dtb", "initrd", "disk", "module", "app")
"""What a user can give instead of what is built: ``--qemu-kernel`` and so on."""
APP = "CMA_area_app-0.0.1"
"""Name of the application, here and in BiscuitOS."""
_WORDS = frozenset({"features", "foreign"})


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    """SHA-256 of a file, as hex, computed once for each state of the file in a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Files on the host that make up one system under test.

    ``features`` names what this system can offer beyond a kernel and a shell. A feature that is
    missing is *absent*, never an error by itself.
    """

    kernel: Path
    """zImage."""
    dtb: Path
    """Flattened device tree."""
    initrd: Path | None = None
    """initramfs (newc, may be compressed) or ramdisk."""
    disk: Path | None = None
    """Root disk, raw, for virtio-blk. It is read only: a machine writes to an overlay."""
    module: Path | None = None
    """``cma.ko`` on the host, the same file as in the root image."""
    app: Path | None = None
    """``CMA_area_app-0.0.1`` on the host, the same file as in the root image."""
    vmlinux: Path | None = None
    """ELF with symbols, for traces."""
    system_map: Path | None = None
    append: str = INITRAMFS_APPEND
    """Kernel command line."""
    release: str = ""
    """``uname -r``; empty where it is not known before the boot."""
    features: frozenset[Feature] = frozenset()
    foreign: frozenset[str] = frozenset()
    """Which of ``module`` and ``app`` are not what the root image holds, and must be brought in."""

    def files(self) -> list[Path]:
        """All its files on the host."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [value for value in values if isinstance(value, Path)]

    def digest(self) -> str:
        """SHA-256 over the contents of all files and the fields, as hex. Raises `UserError` on
        an unreadable file.
        """
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Path):
                try:
                    stat = value.stat()
                    if field.name == "disk":  # too large to be read each time
                        value = f"{value.resolve()} {stat.st_size} {stat.st_mtime_ns}"
                    else:
                        value = _file_digest(value, stat.st_size, stat.st_mtime_ns, stat.st_ino)
                except OSError as error:
                    raise UserError(
                        f"cannot read {field.name} {value}: {error.strerror}"
                    ) from error
            elif isinstance(value, set | frozenset):
                value = sorted(value)
            digest.update(f"{field.name}={value}\n".encode())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Writes the set's manifest, JSON with absolute paths, for `read`."""
        content: dict[str, object] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, set | frozenset):
                value = sorted(value)
            elif isinstance(value, Path):
                value = str(value.absolute())
            content[field.name] = value
        path.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> ImageSet:
        """The set that a manifest names; its paths are relative to the manifest's directory.

        Raises `UserError` for a file that is no manifest, and for one that names no such file.
        """
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is no image set: not JSON ({error})") from error
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(content, dict) or not {"kernel", "dtb"} <= content.keys() <= names:
            raise UserError(
                f"{path} is no image set: expected an object with kernel and dtb, and else only"
                f" {', '.join(sorted(names - {'kernel', 'dtb'}))}"
            )
        values = {name: _field(path, name, value) for name, value in content.items()}
        return cls(**values)


def _field(manifest: Path, name: str, value: object) -> Any:
    """A manifest's value as the field's type. Raises `UserError`."""
    if name in _WORDS:
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return parse_all(value, str(manifest)) if name == "features" else frozenset(value)
        raise UserError(f"{manifest}: {name} is not a list of words")
    if value is None and name in _PATHS - {"kernel", "dtb"}:
        return None
    if not isinstance(value, str):
        raise UserError(f"{manifest}: {name} is not a string")
    if name not in _PATHS:
        return value
    file = manifest.absolute().parent / value
    if not file.is_file():
        raise UserError(f"{manifest}: {name}: there is no file {file}")
    return file
