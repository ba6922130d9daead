# SPDX-License-Identifier: MIT
"""Which engine a command runs on: this machine's processes, or a cluster."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from harness.engine.address import check_address, require_dask
from harness.engine.local import Build, LocalEngine
from harness.engine.task import Engine
from harness.host.userpath import expanded

CERTIFICATES = "HARNESS_CLUSTER_CERTIFICATES"
"""In the environment: the directory that ``harness cluster certificates`` made."""


@dataclasses.dataclass(frozen=True)
class ClusterChoice:
    """What the user said of it."""

    address: str = ""
    """``tls://HOST:PORT``, ``tcp://127.0.0.1:PORT``, ``local:N``; empty: this machine's processes.
    """
    certificates: Path | None = None
    """The directory of certificates, for ``tls://``."""


HERE_ONLY = ClusterChoice()


def certificates_of(choice: ClusterChoice) -> Path | None:
    """The directory of certificates that was named, in the option or in the environment."""
    named = os.environ.get(CERTIFICATES)
    return choice.certificates or (expanded(named).absolute() if named else None)


def open_engine(
    choice: ClusterChoice, slots: int, build: Build = lambda kernels: {}, shares: int = 1
) -> Engine:
    """The engine; the local one runs `slots` tasks at once, of those that claim the same thing
    `shares`, and builds by `build`.

    Raises `UserError` for a cluster that cannot be used, `HarnessError` for one that is not there.
    """
    if not choice.address:
        return LocalEngine(slots, build, shares=shares)
    require_dask()
    check_address(choice.address)
    from harness.engine.connection import Connection
    from harness.engine.dask import DaskEngine

    return DaskEngine(Connection(choice.address, certificates_of(choice)))
