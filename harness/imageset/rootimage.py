# SPDX-License-Identifier: MIT
"""What a root image is, by its bytes, and which driver is installed in it."""

from __future__ import annotations

import functools
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.host import confine, tool
from harness.host.programs import locate
from harness.imageset.module import pick_driver
from harness.imageset.ramdisk import GZIP, NEWC, UBOOT, UBOOT_HEADER, unpacked

EXT_MAGIC_AT, EXT_MAGIC = 0x438, b"\x53\xef"
HEAD = 0x10040 + 8
"""Bytes from the start of an image that tell its kind."""
TRAILER = b"TRAILER!!!"
_PACKED = (
    (GZIP, "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0\0", "lzma"),
    (b"BZh", "bzip2"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO", "lzo"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
"""What the kernel can unpack itself (``lib/decompress.c``)."""
_FILE_SYSTEMS = (
    (EXT_MAGIC_AT, EXT_MAGIC, "ext"),
    (0, b"hsqs", "squashfs"),
    (0, b"-rom1fs-", "romfs"),
    (0, b"\x45\x3d\xcd\x28", "cramfs"),
    (0x410, b"\x7f\x13", "minix"),
    (0x410, b"\x8f\x13", "minix"),
    (0x410, b"\x68\x24", "minix"),
    (0x410, b"\x78\x24", "minix"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"XFSB", "xfs"),
)
"""File systems by a mark and where it is (each one's header in the kernel)."""
_MODULES = "/lib/modules"
_DEBUGFS_SECONDS = 60.0


def head(path: Path) -> bytes:
    """The first bytes of an image. Raises `UserError` where it cannot be read, or is empty."""
    try:
        with path.open("rb") as file:
            content = file.read(HEAD)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if not content:
        raise UserError(f"{path} is empty")
    return content


def is_ext(content: bytes) -> bool:
    """Whether an image is an ext2, ext3 or ext4 file system (``fs/ext4/ext4.h``)."""
    return content[EXT_MAGIC_AT : EXT_MAGIC_AT + 2] == EXT_MAGIC


def kind_of(content: bytes) -> str:
    """``ext`` and other file systems, ``newc`` for an initramfs, a compression; empty for what a
    kernel can use in no way.
    """
    if content[:4] == UBOOT:
        content = content[UBOOT_HEADER:]
    if content[:6] in (NEWC, b"070702"):
        return "newc"
    for mark, name in _PACKED:
        if content.startswith(mark):
            return name
    marks = ((name, content[at : at + len(mark)] == mark) for at, mark, name in _FILE_SYSTEMS)
    return next((name for name, there in marks if there), "")


def _what_it_is(path: Path, content: bytes) -> str:
    """Words on an image that is of no use as a root."""
    if content[:4] == b"QFI\xfb":
        return f"{path} is a qcow2 image; make it raw: qemu-img convert -O raw {path.name} root.img"
    if content[510:512] == b"\x55\xaa":
        return f"{path} has a partition table; give the raw file system, without one"
    return f"{path} is neither a file system nor an initramfs (newc) that is known here"


def check_disk(path: Path) -> None:
    """Raises `UserError` for a root disk that is none."""
    content = head(path)
    kind = kind_of(content)
    if kind in ("newc", *(name for _, name in _PACKED)):
        raise UserError(f"{path} is no disk but {kind} data: give it as --initrd (a ramdisk)")
    if kind and kind != "ext":
        raise UserError(f"{path} is a {kind} file system; a root disk here has ext4")
    if not kind:
        raise UserError(f"{_what_it_is(path, content)}: a root disk is a raw ext4 file system")


def check_initrd(path: Path) -> None:
    """Raises `UserError` for what is neither an initramfs nor a ramdisk, or ends before its end."""
    if not kind_of(head(path)):
        raise UserError(_what_it_is(path, head(path)))
    data = path.read_bytes()
    if data[:4] == UBOOT:
        data = data[UBOOT_HEADER:]
    if data[:3] == GZIP:
        unpacker = zlib.decompressobj(31)
        try:
            data = unpacker.decompress(data)
        except zlib.error as error:
            raise UserError(f"{path} is a damaged gzip file: {error}") from error
        if not unpacker.eof:
            raise UserError(f"{path} is truncated: its gzip data has no end; copy it again")
        if not kind_of(data[:HEAD]):
            raise UserError(f"{_what_it_is(path, data[:HEAD])} (unpacked)")
    if data[:6] == NEWC and TRAILER not in data[-4096:]:
        raise UserError(f"{path} is truncated: a newc archive without its trailer; copy it again")


def installed_driver(path: Path, release: str) -> str | None:
    """Where in the root image the driver for the kernel `release` is; empty where there is none,
    None where that cannot be told before the boot.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return _installed(path, release, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _installed(path: Path, release: str, _size: int, _mtime_ns: int) -> str | None:
    if not release:
        return None
    place = f"{_MODULES}/{release}"
    if is_ext(head(path)):
        return _in_ext(path, place)
    content = unpacked(path.read_bytes())
    if content[:6] == NEWC:
        members = ((f"/{name.lstrip('./')}", data) for name, data in newc_files(content))
        wanted = ((n, d) for n, d in members if n.startswith(f"{place}/") and n.endswith(".ko"))
        return pick_driver(sorted(wanted)) or ""
    if is_ext(content):
        with tempfile.NamedTemporaryFile(prefix="harness-root-") as file:
            file.write(content)
            file.flush()
            return _in_ext(Path(file.name), place)
    return None


def _in_ext(path: Path, place: str) -> str | None:
    """The same for an ext file system, which e2fsprogs' ``debugfs`` reads."""
    debugfs = locate("debugfs")
    if debugfs is None:
        return None
    with tempfile.TemporaryDirectory(prefix="harness-modules-") as name:
        to = Path(name)
        argv: list[str | Path] = [debugfs, "-R", f'rdump "{place}" "{to}"', _readable(path, to)]
        try:
            done = tool.run(argv, [path], _DEBUGFS_SECONDS, writable=[to])
        except (confine.NoMeans, OSError, subprocess.SubprocessError):
            return None
        if done.returncode:
            return None
        base = to / Path(place).name
        found = sorted(base.rglob("*.ko"))
        contents = ((file, file.read_bytes()) for file in found if file.is_file())
        driver = pick_driver(contents)
        return f"{place}/{driver.relative_to(base)}" if driver else ""


def _readable(path: Path, place: Path) -> Path:
    """The image, or, where another uid may not read it, a copy in `place`."""
    if confine.other_uid() is None or path.stat().st_mode & 0o004:
        return path
    copy = ["cp", "--sparse=always", "--reflink=auto", "--no-preserve=mode", str(path)]
    subprocess.run([*copy, str(place / "image")], check=True, capture_output=True)
    return place / "image"


def newc_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member (``Documentation/driver-api/early-userspace``, newc)."""
    at = 0
    while content[at : at + 6] == NEWC and len(content) >= at + 110:
        try:
            size = int(content[at + 54 : at + 62], 16)
            length = int(content[at + 94 : at + 102], 16)
        except ValueError:
            return
        name = content[at + 110 : at + 110 + length - 1].decode("utf-8", "surrogateescape")
        start = (at + 110 + length + 3) & ~3
        yield name, content[start : start + size]
        at = (start + size + 3) & ~3
