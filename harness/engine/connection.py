# SPDX-License-Identifier: MIT
"""The way to a cluster: a client of Dask's scheduler, and a small cluster of this machine's own."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Security

from harness.engine.address import local_workers
from harness.engine.identity import identity, parse
from harness.engine.member import WORKER_NAME, Member, Takes
from harness.engine.security import security_of
from harness.errors import HarnessError

CONNECT_SECONDS = 20.0
GUESTS, TREES = "guests", "trees"
"""What a worker offers: guests at once, and patched trees at once."""
PLENTY = 1_000_000
"""How much a worker offers of what all its tasks need, and none uses up."""
WORKER_MODULE = "harness.engine.worker"
WORKER_SECONDS = 60.0
"""A worker that was not heard of for so long is given up; its tasks are run elsewhere."""
FAILURES = 5
"""Workers that may die while they have a task, before it is given up."""
_NOWHERE = "127.0.0.1:0"
"""For the web pages of Dask's programs: any port, and only this machine reaches it."""
CONFIG = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.tick.limit": "60s",
}
"""Dask's own limits of memory are not for processes that it does not know."""


class Connection:
    """A client, made anew where the scheduler was lost."""

    def __init__(self, address: str, certificates: Path | None) -> None:
        """Connects. Raises `UserError`, `HarnessError` where nobody is there."""
        dask.config.set(CONFIG)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.address = address
        self._cluster: Any = None
        self._security: Any
        count = local_workers(address)
        if count is None:
            self._security = security_of(address, certificates)
        else:
            self._security = Security.temporary()
            self._cluster = local_cluster(count, self._security)
        self._client: Any = None
        try:
            self.connect()
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> Any:
        """Dask's."""
        return self._client

    def connect(self) -> None:
        """Connects once more. Raises `HarnessError`."""
        to = self.address if self._cluster is None else self._cluster.scheduler_address
        try:
            self._client = Client(
                to, security=self._security, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise HarnessError(f"no scheduler answers at {to}: {error}") from error

    def again(self, seconds: float) -> None:
        """Connects to a scheduler that was lost, and may be there again in so many seconds.

        Raises `HarnessError` where it is not.
        """
        end = time.monotonic() + seconds
        self._drop()
        while True:
            try:
                return self.connect()
            except HarnessError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.5)

    def members(self) -> list[Member]:
        """All workers that the scheduler knows."""
        try:
            # Not `scheduler_info`, which may answer with what the client's own timer asked for:
            # the scheduler without its workers.
            info = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        except (OSError, TimeoutError) as error:
            raise HarnessError(f"the scheduler at {self.address} is lost: {error}") from error
        return [_member(address, about) for address, about in info["workers"].items()]

    def assigned(self) -> dict[str, str]:
        """The worker that each key was given to, whether it runs there already or waits."""
        try:
            found = self._client.processing()
        except (OSError, TimeoutError) as error:
            raise HarnessError(f"the scheduler at {self.address} is lost: {error}") from error
        return {key: address for address, keys in found.items() for key in keys}

    @property
    def lost(self) -> bool:
        """Whether there is no scheduler any more."""
        return self._client is None or self._client.status != "running"

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close(timeout=2)

    def close(self) -> None:
        """Ends the client, and a cluster of this machine's own."""
        self._drop()
        if self._cluster is not None:
            self._cluster.close(timeout=30)
            self._cluster = None


def offers(guests: int, trees: int) -> dict[str, float]:
    """What a worker of this machine offers."""
    return {GUESTS: guests, TREES: trees, identity().resource: PLENTY}


def local_cluster(workers: int, security: Any) -> Any:
    """Workers on this machine, each for one task at a time; only who started them can reach them.

    The certificates are of this moment and in memory.
    """
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            dashboard_address=_NOWHERE,
            worker_dashboard_address=_NOWHERE,
            resources=offers(1, 1),
            preload=[WORKER_MODULE],
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"worker_ttl": WORKER_SECONDS, "allowed_failures": FAILURES},
        )
    except (OSError, RuntimeError) as error:
        raise HarnessError(f"the cluster of this machine did not start: {error}") from error


def _member(address: str, about: Any) -> Member:
    resources = about.get("resources") or {}
    found = [known for known in map(parse, resources) if known is not None]
    refused = "it was not started by `harness cluster worker`"
    if found:
        refused = identity().differences(found[0])
    guests, trees = int(resources.get(GUESTS, 0)), int(resources.get(TREES, 0))
    return Member(
        address,
        str(about.get("name", address)),
        guests,
        trees,
        refused,
        float(about.get("last_seen", 0)),
        {key: Takes(*took) for key, took in (about["metrics"].get(WORKER_NAME) or {}).items()},
    )
