# SPDX-License-Identifier: MIT
"""The key of an entry of the cache, and where finished entries may come from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Key:
    """What a result is made from. Equal inputs, equal result."""

    name: str
    """Kind of the result, a file name: ``kernel-6.1``."""
    inputs: Mapping[str, str]
    """Readable parts: versions as they are, files as digests."""

    @property
    def slug(self) -> str:
        """``NAME-DIGEST``: name of the entry's directory."""
        text = json.dumps([self.name, sorted(self.inputs.items())])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Source(Protocol):
    """Where finished entries come from and go to; see `harness.builders.tier.Tier`."""

    def fetch(self, slug: str, to: Path, tmp: Path, say: Say) -> bool:
        """Lays an entry into the empty directory `to`, checked; False where it has none."""

    def offer(self, slug: str, entry: Path, tmp: Path, say: Say) -> None:
        """Is shown an entry that was built."""
