# SPDX-License-Identifier: MIT
"""How the bench talks to a peer: a row's name on a line, a number (or ``null``) on the next.

This file is imported by every peer in its own environment: standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

LATENCY_SAMPLES = 50
MEMORY_MACHINES = 8


def private_bytes(pid: int) -> int:
    """Memory that only this process has, in bytes (``/proc/PID/smaps_rollup``)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def serve(rows: dict[str, Callable[[], float]]) -> None:
    """Measures what is asked for on standard input until that ends."""
    for line in sys.stdin:
        measure = rows.get(line.strip())
        print(json.dumps(measure() if measure else None), flush=True)
