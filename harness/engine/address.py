# SPDX-License-Identifier: MIT
"""Addresses of a cluster, and which of them are refused."""

from __future__ import annotations

import importlib.util
import re

from harness.errors import UserError
from harness.host.webaddress import loopback, split

INSTALL = "pip install distributed fsspec"
_LOCAL = re.compile(r"local:([1-9][0-9]{0,3})")


def require_dask() -> None:
    """Raises `UserError` where the packages of the extra are not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise UserError(f"a cluster needs packages that are not installed: {INSTALL}")


def local_workers(address: str) -> int | None:
    """N of ``local:N``; None for another address."""
    match = _LOCAL.fullmatch(address)
    return int(match[1]) if match else None


def check_address(address: str, what: str = "--cluster") -> str:
    """The address, its protocol in small letters. Raises `UserError` for one that is none, and for
    one that is neither encrypted nor this machine's own: whoever reaches a scheduler runs what he
    likes on its workers.
    """
    if local_workers(address) is not None:
        return address
    try:
        parts = split(address, what)
    except UserError:
        parts = split("", what)
    if parts.scheme not in ("tls", "tcp") or not parts.hostname or parts.port is None:
        raise UserError(f"{what} {address}: expected tls://HOST:PORT or local:N (N workers here)")
    if parts.scheme == "tcp" and not loopback(parts.hostname):
        raise UserError(
            f"{what} {address}: without TLS only this machine's own addresses are used, for whoever"
            " reaches a scheduler can run anything on its workers; make certificates with"
            " `harness cluster certificates DIR` and take tls://"
        )
    return parts.scheme + address[len(parts.scheme) :]
