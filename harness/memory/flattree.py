# SPDX-License-Identifier: MIT
"""Property bytes of a device tree, from a flattened blob or from ``/proc/device-tree``.

The blob is the format of the Devicetree Specification, chapter 5.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping

from harness.memory.errors import (
    MalformedDeviceTree,
    NotADeviceTree,
    TruncatedDeviceTree,
)

_MAGIC = 0xD00DFEED
_HEADER = struct.Struct(">7I")
_RESERVATION = struct.Struct(">QQ")
_CELL = struct.Struct(">I")
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_DEEPEST = 2
"""Levels below the root that are kept."""
_OLDEST_VERSION = 16
_NEWEST_COMPATIBLE = 17

_LOOKS = (
    (b"\x7fELF", "an ELF file"),
    (b"\x1f\x8b", "gzip data: decompress it first"),
    (b"\xfd7zXZ\x00", "xz data: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data: decompress it first"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\xed\xfe\x0d\xd0", "a device tree with its bytes swapped"),
    (b"070701", "a cpio archive (an initramfs)"),
    (b"QFI\xfb", "a qcow2 disk image"),
)


@dataclasses.dataclass(frozen=True)
class RawNode:
    """A node: full name including any unit address, and the properties as the tree stores them."""

    name: str
    properties: Mapping[str, bytes]
    children: tuple[RawNode, ...] = ()

    def child(self, name: str) -> RawNode | None:
        """The child of that full name, or None."""
        return next((node for node in self.children if node.name == name), None)


@dataclasses.dataclass(frozen=True)
class RawTree:
    """The root, two levels of nodes below it, and the ``/memreserve/`` pairs (address, size)."""

    root: RawNode
    reservations: tuple[tuple[int, int], ...]
    source: str


def from_blob(blob: bytes, source: str) -> RawTree:
    """Reads a flattened device tree (``.dtb``), version 16 or 17.

    Raises `NotADeviceTree`, `TruncatedDeviceTree` or `MalformedDeviceTree`; nothing else.
    """
    blob, reservations_at = _checked(bytes(blob), source)
    reservations = _reservations(blob, reservations_at, source)
    try:
        root = _Structure(blob).root()
    except (ValueError, struct.error) as error:
        raise MalformedDeviceTree(
            source,
            f"the structure of the device tree is damaged ({error}); "
            "check it with `dtc -I dtb -O dts`, and build it again",
        ) from error
    return RawTree(root, reservations, source)


def from_files(files: Mapping[str, bytes], source: str = "/proc/device-tree") -> RawTree:
    """The live tree from the files below ``/proc/device-tree``: relative path to contents.

    Raises `NotADeviceTree` where there are none. The reservations are not in the live tree.
    """
    if not files:
        raise NotADeviceTree(
            source, "it is empty: no device tree was given to this kernel, or read"
        )
    properties: dict[tuple[str, ...], dict[str, bytes]] = {(): {}}
    for path, contents in files.items():
        *parents, name = [part for part in path.split("/") if part not in ("", ".")] or [""]
        for depth in range(len(parents) + 1):
            properties.setdefault(tuple(parents[:depth]), {})
        properties[tuple(parents)][name] = bytes(contents)

    def node(path: tuple[str, ...], depth: int) -> RawNode:
        below = [p for p in properties if len(p) == len(path) + 1 and p[: len(path)] == path]
        children = tuple(node(p, depth - 1) for p in below) if depth else ()
        return RawNode(path[-1] if path else "/", properties[path], children)

    return RawTree(node((), 2), (), source)


def _checked(blob: bytes, source: str) -> tuple[bytes, int]:
    """The blob cut to the size in its header, and the offset of the reservations."""
    if len(blob) < 4 or int.from_bytes(blob[:4], "big") != _MAGIC:
        raise NotADeviceTree(source, f"this is no flattened device tree: it is {_looks_like(blob)}")
    if len(blob) < _HEADER.size:
        raise TruncatedDeviceTree(
            source, f"the device tree ends in its header, at {len(blob)} bytes"
        )
    _, total, _, _, reservations_at, version, compatible = _HEADER.unpack_from(blob)
    if total > len(blob):
        raise TruncatedDeviceTree(
            source,
            f"the device tree is cut short: {total} bytes by its header, {len(blob)} in the file; "
            "build or copy it again",
        )
    if version < _OLDEST_VERSION or compatible > _NEWEST_COMPATIBLE:
        raise MalformedDeviceTree(
            source,
            f"the device tree has format version {version} (compatible with {compatible}), "
            f"and {_OLDEST_VERSION} to {_NEWEST_COMPATIBLE} can be read; "
            "convert it with `dtc -I dtb -O dtb`",
        )
    return blob[:total], reservations_at


def _looks_like(blob: bytes) -> str:
    if not blob:
        return "empty"
    for magic, what in _LOOKS:
        if blob.startswith(magic):
            return what
    if blob[0x24:0x28] == b"\x18\x28\x6f\x01":
        return "an ARM zImage (a kernel)"
    head = blob[:4096]
    if b"/dts-v1/" in head:
        return "device tree source text: compile it with `dtc -I dts -O dtb`"
    if all(byte in b"\t\r\n\f" or 32 <= byte < 127 for byte in head):
        return f"text that begins {head[:24]!r}"
    return f"data that begins {blob[:4].hex(' ')}, not d0 0d fe ed"


def _reservations(blob: bytes, offset: int, source: str) -> tuple[tuple[int, int], ...]:
    pairs: list[tuple[int, int]] = []
    while offset + _RESERVATION.size <= len(blob):
        address, size = _RESERVATION.unpack_from(blob, offset)
        if address == 0 and size == 0:
            return tuple(pairs)
        pairs.append((address, size))
        offset += _RESERVATION.size
    raise MalformedDeviceTree(source, "the list of memory reservations has no end")


class _Structure:
    """The blocks of structure and strings. All methods raise `ValueError` or `struct.error`."""

    def __init__(self, blob: bytes) -> None:
        _, _, self._at, self._strings, _, _, _ = _HEADER.unpack_from(blob)
        self._blob = blob

    def root(self) -> RawNode:
        """The root node. What follows it, up to the end mark, must be nothing."""
        if self._token() != _BEGIN_NODE:
            raise ValueError("there is no root node")
        self._text_here()
        open_nodes: list[tuple[str, dict[str, bytes], list[RawNode]]] = [("/", {}, [])]
        while True:
            token = self._token()
            name, properties, children = open_nodes[-1]
            if token == _PROPERTY:
                key, value = self._property()
                properties[key] = value
            elif token == _BEGIN_NODE:
                open_nodes.append((self._text_here(), {}, []))
            elif token == _END_NODE:
                open_nodes.pop()
                node = RawNode(name, properties, tuple(children))
                if not open_nodes:
                    break
                if len(open_nodes) <= _DEEPEST:
                    open_nodes[-1][2].append(node)
            else:
                raise ValueError(f"token {token} at {self._at - _CELL.size:#x}")
        if (token := self._token()) != _END:
            raise ValueError(f"token {token} after the root node")
        return node

    def _cell(self) -> int:
        (value,) = _CELL.unpack_from(self._blob, self._at)
        self._at += _CELL.size
        return int(value)

    def _token(self) -> int:
        while (token := self._cell()) == _NOP:
            pass
        return token

    def _property(self) -> tuple[str, bytes]:
        length, name_at = self._cell(), self._cell()
        end = self._at + length
        if end > len(self._blob):
            raise ValueError(f"a property of {length} bytes goes beyond the end")
        value = self._blob[self._at : end]
        self._at = (end + 3) & ~3
        return self._text(self._strings + name_at)[0], value

    def _text_here(self) -> str:
        text, end = self._text(self._at)
        self._at = (end + 4) & ~3
        return text

    def _text(self, at: int) -> tuple[str, int]:
        end = self._blob.find(b"\0", at) if at < len(self._blob) else -1
        if end < 0:
            raise ValueError(f"a name at {at:#x} has no end")
        return self._blob[at:end].decode("ascii", "backslashreplace"), end
