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
import time
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
AT_ONCE = 4
"""Workers that one gives to at once; others ask those who have been given to."""
_FORGOTTEN = 30.0
"""Seconds after which one that asks for no more pieces is no longer counted."""
_WAIT = 1.0
PATIENCE = 1800.0
"""Seconds to wait for workers that are busy with giving."""


class Packed:
    """The archives that a worker gives; each is made when it is asked for first."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._locks: dict[str, asyncio.Lock] = {}
        self._digests: dict[str, str] = {}
        self._given: dict[str, float] = {}
        """To whom, and when the last piece was asked for."""

    async def piece(self, slug: str, offset: int, who: str) -> dict[str, Any]:
        """A piece of an entry's archive from `offset`, its size and its SHA-256, for the worker
        `who`; nothing where this machine does not have the entry, ``busy`` where it gives to
        `AT_ONCE` others. Dask's handler.
        """
        if not self._has(slug):
            return {}
        now = time.monotonic()
        self._given = {one: at for one, at in self._given.items() if now - at < _FORGOTTEN}
        if who not in self._given and len(self._given) >= AT_ONCE:
            return {"busy": True}
        self._given[who] = now
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
        size = path.stat().st_size
        if offset + len(data) >= size:
            self._given.pop(who, None)
        elif who in self._given:
            self._given[who] = time.monotonic()
        return {"data": data, "size": size, "sha256": self._digests[slug]}

    @staticmethod
    def _has(slug: str) -> bool:
        return Path(slug).name == slug and (_entry(slug) / MANIFEST).is_file()

    def _pack(self, slug: str, path: Path) -> str:
        entry = _entry(slug)
        if not self._has(slug):
            return ""
        self._place.mkdir(exist_ok=True)
        archive.pack(entry, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(slug: str) -> Path:
    return Cache().root / "entries" / slug


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


class PeerSource:
    """The other workers, as a source of finished entries; `first` built them."""

    def __init__(self, worker: Worker, first: str) -> None:
        self._worker = worker
        self._first = first

    def fetch(self, slug: str, to: Path, tmp: Path, say: Say) -> bool:
        """See `harness.builders.key.Source`. Waits where all that have it give it to others."""
        packed = tmp / f"{slug}{archive.SUFFIX}"
        refused: set[str] = set()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            busy = False
            for address in self._others():
                if address in refused:
                    continue
                try:
                    found = sync(self._worker.loop, self._copy, address, slug, packed)
                    busy = busy or found is None
                    if not found:
                        continue
                    archive.unpack(packed, to, slug)
                except (HarnessError, OSError, TimeoutError) as error:
                    say(f"{slug} is not taken from {address}: {error}")
                    refused.add(address)
                    shutil.rmtree(to, ignore_errors=True)
                    to.mkdir()
                else:
                    say(f"{slug} comes from {address}")
                    return True
                finally:
                    packed.unlink(missing_ok=True)
            if not busy:
                return False
            time.sleep(_WAIT)
        return False

    def offer(self, slug: str, entry: Path, tmp: Path, say: Say) -> None:
        """Nothing: others ask."""

    def _others(self) -> list[str]:
        """Addresses in any order, so that not all ask the same one; who built it is the last."""
        info = sync(self._worker.loop, self._worker.scheduler.identity, n_workers=-1)
        others = [address for address in info["workers"] if address != self._worker.address]
        random.shuffle(others)
        return sorted(others, key=lambda address: address == self._first)

    async def _copy(self, address: str, slug: str, to: Path) -> bool | None:
        """Copies an archive from a worker; False where that one does not have it, None where it is
        busy.
        """
        peer = self._worker.rpc(address)
        digest, offset = hashlib.sha256(), 0
        with to.open("wb") as file:
            while True:
                found = await getattr(peer, OPERATION)(
                    slug=slug, offset=offset, who=self._worker.address
                )
                if not found:
                    return False
                if found.get("busy"):
                    return None
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
