# SPDX-License-Identifier: MIT
"""What is asked of every address that a user names, before anything is sent or fetched."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.parse

from harness.errors import UserError
from harness.plaintext import line

TROUBLE = (OSError, ValueError, http.client.HTTPException)
"""What urllib raises for a server that is away, that is none, or that breaks off."""


def split(url: str, what: str) -> urllib.parse.SplitResult:
    """Its parts, the scheme in small letters. Raises `UserError`, which begins with `what` named
    it, for what is no address, and for an http or https one that no request can be made of.
    """
    named = f"{what} {line(url, 300)}".lstrip()
    if not url.isprintable() or " " in url:
        raise UserError(f"{named}: there is a space or a control character in the address")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise UserError(f"{named}: it is no address: {error}") from None
    if parts.scheme in ("http", "https"):
        if not host:
            raise UserError(f"{named}: name a host: {parts.scheme}://HOST/PATH")
        if not url.isascii():
            raise UserError(f"{named}: write it in ASCII: hosts as xn--…, the rest as %XX")
    return parts


def loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
