# SPDX-License-Identifier: MIT
"""The keys of one machine: made here, in memory, at the first use of ssh; never on this disk.

The host makes the guest's host key too and hands it over on the serial line, which no other process
can reach. So the pin is known before anything is connected to, no two machines share a key though
they come from one template, and a guest pays nothing for making one.
"""

from __future__ import annotations

import dataclasses
import io
import struct

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko import Ed25519Key

KIND = "ssh-ed25519"


@dataclasses.dataclass(frozen=True)
class Keys:
    """A key pair for the guest's server, and one for its only user, root."""

    host: Ed25519Key
    """The host key, pinned. Only its public half is used here."""
    host_file: bytes
    """The same as Dropbear reads it (``ed25519.c``, ``buf_put_ed25519_priv_key``): the kind, then
    the private and the public half as one string."""
    user: Ed25519Key

    @property
    def authorized(self) -> str:
        """The line for ``authorized_keys``."""
        return f"{KIND} {self.user.get_base64()} harness"

    @classmethod
    def fresh(cls) -> Keys:
        """Keys that nobody else has."""
        private = Ed25519PrivateKey.generate()
        raw = serialization.Encoding.Raw
        halves = private.private_bytes(
            raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        ) + private.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        host_file = _string(KIND.encode()) + _string(halves)
        return cls(_paramiko(private), host_file, _paramiko(Ed25519PrivateKey.generate()))


def _string(data: bytes) -> bytes:
    """A string of the ssh protocol: its length, then its bytes (RFC 4251, 5)."""
    return struct.pack(">I", len(data)) + data


def _paramiko(private: Ed25519PrivateKey) -> Ed25519Key:
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    return Ed25519Key(file_obj=io.StringIO(text))
