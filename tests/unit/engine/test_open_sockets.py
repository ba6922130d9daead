# SPDX-License-Identifier: MIT
"""A cluster of this machine's own cannot be reached from another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow("a scheduler and two workers are started")
_LISTEN = "0A"


def family() -> list[Path]:
    """This process and all below it, as directories of /proc."""
    found = [str(os.getpid())]
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent in found:
            found.append(path.name)
    return [Path("/proc", pid) for pid in found]


def listening() -> set[str]:
    """The addresses at which they listen for TCP, as proc(5) has them: hexadecimal."""
    inodes = set()
    for process in family():
        try:
            links = [os.readlink(path) for path in (process / "fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = []
    for name in ("tcp", "tcp6"):
        rows += [line.split() for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == _LISTEN and row[9] in inodes}


def test_all_its_sockets_are_loopback_s(connection: Any) -> None:
    assert len(connection.members()) == 2
    assert listening() == {"0100007F"}
