# SPDX-License-Identifier: MIT
"""The scheduler and the workers of a cluster, as programs that run until they are told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler, Worker

from harness.engine.address import check_address
from harness.engine.connection import CONFIG, FAILURES, WORKER_SECONDS, offers
from harness.engine.identity import identity
from harness.engine.security import security_of
from harness.engine.worker import HarnessPlugin
from harness.errors import HarnessError

RETRY_SECONDS = 2.0
_LOOPBACK = "127.0.0.1:0"
_SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}

Say = Callable[[str], None]


def run_scheduler(
    address: str, certificates: Path | None, say: Say, worker_seconds: float = WORKER_SECONDS
) -> int:
    """Runs a scheduler that listens at ``tls://HOST:PORT`` until a signal; the exit status.

    `worker_seconds`: see `WORKER_SECONDS`. Raises `UserError`, `HarnessError`.
    """
    address = check_address(address, "the scheduler's address")
    security = security_of(address, certificates)
    _prepare()
    return asyncio.run(_until_signal(lambda: _scheduler(address, security, say, worker_seconds)))


def run_worker(
    address: str, certificates: Path | None, guests: int, trees: int, name: str, say: Say
) -> int:
    """Runs a worker for the scheduler at `address` until a signal; the exit status. Where there is
    no scheduler (yet, or any more), it tries again and again. Raises `UserError`.
    """
    address = check_address(address, "the scheduler's address")
    security = security_of(address, certificates)
    _prepare()
    given = {
        "security": security,
        "nthreads": guests,
        "resources": offers(guests, trees),
        "name": name or f"{platform.node()}-{os.getpid()}",
        "memory_limit": 0,
        "dashboard_address": _LOOPBACK,
        "protocol": address.partition(":")[0],
        "death_timeout": 20,
    }
    if address.startswith("tcp:"):
        given["host"] = "127.0.0.1"
    return asyncio.run(_until_signal(lambda: _worker(address, given, say)))


def _prepare() -> None:
    dask.config.set(CONFIG)
    logging.getLogger("distributed").setLevel(logging.ERROR)


async def _until_signal(serve: Callable[[], Awaitable[None]]) -> int:
    """Serves until a signal comes, and ends in order then; the exit status of the signal."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[int] = loop.create_future()

    def end(status: int) -> None:
        if not came.done():
            came.set_result(status)

    for number, status in _SIGNALS.items():
        loop.add_signal_handler(number, end, status)
    serving = asyncio.ensure_future(serve())
    both: set[asyncio.Future[Any]] = {came, serving}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not came.done():
        await serving  # raises why it ended
        return 0
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return came.result()


async def _scheduler(address: str, security: Any, say: Say, worker_seconds: float) -> None:
    protocol, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    try:
        scheduler = await Scheduler(
            host=host.strip("[]"),
            port=int(port),
            protocol=f"{protocol}://",
            security=security,
            dashboard_address="127.0.0.1:8787" if _has_bokeh() else _LOOPBACK,
            dashboard=_has_bokeh(),
            worker_ttl=worker_seconds,
            allowed_failures=FAILURES,
        )
    except (OSError, ValueError, RuntimeError) as error:
        # Dask says that it failed to start; what it was is behind that.
        while error.__cause__ is not None and isinstance(error.__cause__, OSError | ValueError):
            error = error.__cause__
        raise HarnessError(f"cannot listen at {address}: {error}") from error
    async with scheduler:
        say(f"the scheduler listens at {scheduler.address}")
        if _has_bokeh():
            say(f"its dashboard: http://127.0.0.1:{scheduler.http_server.port}/status")
        await scheduler.finished()


def _has_bokeh() -> bool:
    import importlib.util

    return importlib.util.find_spec("bokeh") is not None


async def _worker(address: str, given: dict[str, Any], say: Say) -> None:
    say(f"this worker runs {identity().resource.partition('/')[2]}")
    waited = False
    while True:
        plugin = HarnessPlugin()
        worker = Worker(address, plugins=(plugin,), **given)
        try:
            async with worker:
                say(f"worker {worker.name} at {worker.address} works for {address}")
                waited = False
                await worker.finished()
            say(f"the scheduler at {address} is lost")
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            if not waited:
                say(f"no scheduler at {address} yet: {error}")
            waited = True
        finally:
            plugin.remove()
        await asyncio.sleep(RETRY_SECONDS)
