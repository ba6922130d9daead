# SPDX-License-Identifier: MIT
"""The empty overlay, field by field (QEMU ``docs/interop/qcow2.txt``)."""

from __future__ import annotations

import struct

import pytest

from harness.errors import UserError
from harness.machine import qcow2

CLUSTER = 65536


def test_it_is_four_clusters_and_says_the_size() -> None:
    data = qcow2.empty(3 << 29)
    assert len(data) == 4 * CLUSTER
    magic, version, backing, _, bits, size = struct.unpack_from(">4sIQIIQ", data)
    assert (magic, version, backing, 1 << bits, size) == (b"QFI\xfb", 3, 0, CLUSTER, 3 << 29)


def test_its_map_covers_the_disk_and_is_empty() -> None:
    data = qcow2.empty((1 << 29) + 512)
    entries, where = struct.unpack_from(">IQ", data, 36)
    assert (entries, where) == (2, 3 * CLUSTER)
    assert not any(data[where : where + CLUSTER])


def test_each_of_its_clusters_is_counted_once() -> None:
    data = qcow2.empty(512)
    table, clusters = struct.unpack_from(">QI", data, 48)
    assert (table, clusters) == (CLUSTER, 1)
    (block,) = struct.unpack_from(">Q", data, table)
    counts = struct.unpack_from(">32768H", data, block)
    assert counts[:5] == (1, 1, 1, 1, 0)
    assert not any(counts[4:])


def test_a_disk_that_is_too_large_is_refused() -> None:
    assert qcow2.empty(qcow2.MOST)
    with pytest.raises(UserError, match="at most 4 TiB"):
        qcow2.empty(qcow2.MOST + 1)
