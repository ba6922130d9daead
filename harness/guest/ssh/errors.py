# SPDX-License-Identifier: MIT
"""What can go wrong on the way to a guest's ssh server. All are the infrastructure's fault."""

from __future__ import annotations

from harness.machine.errors import MachineError


class SshError(MachineError):
    """The way to the guest's ssh server failed, although the guest and QEMU live."""


class ForeignHostKey(SshError):
    """What answers has not the host key that this machine was given: it is another's."""


class WrongGuest(SshError):
    """A guest answered, and its nonce is not this machine's."""
