# SPDX-License-Identifier: MIT
"""Moves finished entries of the cache from worker to worker, in pieces over Dask's own connections.

Whoever was given a build has it afterwards, and gives it to others: the first one that built it
need not be there any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

from distributed import Worker
from distributed.utils import sync

from harness.builders import archive
from harness.builders.cache import Cache
from harness.builders.key import Say
from harness.builders.manifest import MANIFEST
from harness.errors import HarnessError

OPERATION = "harness_entry"
PIECE = 8 << 20
"""Bytes of one message."""


class Packed:
    """The archives that a worker gives; each is made when it is asked for first."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._locks: dict[str, asyncio.Lock] = {}
        self._digests: dict[str, str] = {}

    async def piece(self, slug: str, offset: int) -> dict[str, Any]:
        """A piece of an entry's archive from `offset`, its size and its SHA-256; nothing where this
        machine does not have the entry. Dask's handler.
        """
        path = self._place / f"{slug}{archive.SUFFIX}"
        async with self._locks.setdefault(slug, asyncio.Lock()):
            if slug not in self._digests:
                try:
                    digest = await asyncio.to_thread(self._pack, slug, path)
                except (OSError, HarnessError):
                    return {}
                if not digest:
                    return {}
                self._digests[slug] = digest
        data = await asyncio.to_thread(_read, path, offset)
        return {"data": data, "size": path.stat().st_size, "sha256": self._digests[slug]}

    def _pack(self, slug: str, path: Path) -> str:
        entry = Cache().root / "entries" / slug
        if Path(slug).name != slug or not (entry / MANIFEST).is_file():
            return ""
        self._place.mkdir(exist_ok=True)
        archive.pack(entry, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


class PeerSource:
    """The other workers, as a source of finished entries; `first` is asked before the others."""

    def __init__(self, worker: Worker, first: str) -> None:
        self._worker = worker
        self._first = first

    def fetch(self, slug: str, to: Path, tmp: Path, say: Say) -> bool:
        """See `harness.builders.key.Source`."""
        for address in self._others():
            packed = tmp / f"{slug}{archive.SUFFIX}"
            try:
                if not sync(self._worker.loop, self._copy, address, slug, packed):
                    continue
                archive.unpack(packed, to, slug)
            except (HarnessError, OSError, TimeoutError) as error:
                say(f"{slug} is not taken from {address}: {error}")
                shutil.rmtree(to, ignore_errors=True)
                to.mkdir()
            else:
                say(f"{slug} comes from {address}")
                return True
            finally:
                packed.unlink(missing_ok=True)
        return False

    def offer(self, slug: str, entry: Path, tmp: Path, say: Say) -> None:
        """Nothing: others ask."""

    def _others(self) -> list[str]:
        """Addresses, the likeliest first."""
        info = sync(self._worker.loop, self._worker.scheduler.identity, n_workers=-1)
        others = [address for address in info["workers"] if address != self._worker.address]
        random.shuffle(others)
        return sorted(others, key=lambda address: address != self._first)

    async def _copy(self, address: str, slug: str, to: Path) -> bool:
        """Copies an archive from a worker; False where that one does not have it."""
        peer = self._worker.rpc(address)
        digest, offset = hashlib.sha256(), 0
        with to.open("wb") as file:
            while True:
                found = await getattr(peer, OPERATION)(slug=slug, offset=offset)
                if not found:
                    return False
                if offset == 0:
                    archive.room(to.parent, 5 * found["size"])
                data = bytes(found["data"])
                await asyncio.to_thread(file.write, data)
                digest.update(data)
                offset += len(data)
                if not data or offset >= found["size"]:
                    break
        if digest.hexdigest() != found["sha256"]:
            raise archive.BadArchive(f"{slug} was damaged on its way from {address}")
        return True
