# SPDX-License-Identifier: MIT
"""An empty overlay over a raw disk, in QEMU's own format (QEMU ``docs/interop/qcow2.txt``).

It names no backing file: which one it is over is said when it is opened, by a descriptor.
"""

from __future__ import annotations

import struct

from harness.errors import UserError

_MAGIC, _VERSION = 0x514649FB, 3
_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_HEADER = struct.Struct(">IIQIIQIIQQIIQQQQII")
_REFCOUNT_ORDER = 4
"""Two bytes a reference count."""
_TABLE, _COUNTS, _MAP, _CLUSTERS = 1, 2, 3, 4
"""The clusters after the header: the table of reference counts, the first block of them, and the
first level of the map; how many there are.
"""
_COVERED = _CLUSTER * _CLUSTER // 8
"""Bytes of the disk that an entry of the map's first level stands for."""
MOST = _COVERED * _CLUSTER // 8
"""The largest disk, in bytes, whose map's first level is one cluster."""


def empty(size: int) -> bytes:
    """The overlay of a disk of `size` bytes. Raises `UserError` for one of more than `MOST`."""
    if size > MOST:
        raise UserError(f"a root disk of {size} bytes is too large: at most {MOST >> 40} TiB")
    header = _HEADER.pack(
        *(_MAGIC, _VERSION, 0, 0, _CLUSTER_BITS, size, 0),
        *(-(-size // _COVERED), _MAP * _CLUSTER, _TABLE * _CLUSTER, 1),
        *(0, 0, 0, 0, 0, _REFCOUNT_ORDER, _HEADER.size),
    )
    counts = struct.pack(f">{_CLUSTERS}H", *[1] * _CLUSTERS)
    pieces = (header, struct.pack(">Q", _COUNTS * _CLUSTER), counts, b"")
    return b"".join(piece.ljust(_CLUSTER, b"\0") for piece in pieces)
