# SPDX-License-Identifier: MIT
"""What can go wrong with a machine, and who is at fault each time."""

from __future__ import annotations

from harness.errors import HarnessError, Verdict
from harness.machine.crash import Crash


class MachineError(HarnessError):
    """QEMU, the host or a channel failed; nothing is known of the guest."""


class QemuDied(MachineError):
    """QEMU ended by itself although the guest had not asked it to.

    `status` is its exit status (negative: the signal that killed it), `stderr` what it said.
    """

    def __init__(self, message: str, status: int | None, stderr: str) -> None:
        super().__init__(message)
        self.status = status
        self.stderr = stderr


class HostStalled(MachineError):
    """This host stood still while the machine ran: what the machine showed proves nothing."""


class ConsoleError(MachineError):
    """A channel delivered something that is not what was sent: damaged, doubled or out of turn."""


class GuestStopped(HarnessError):
    """The guest powered off or reset itself in the middle of something, without a crash."""

    verdict = Verdict.PRODUCT
    output: bytes = b""
    """What the command under way had printed, where the channel has it as it comes."""


class GuestTimeout(HarnessError):
    """No answer by the deadline, and no crash either. The message has the command, the time that
    passed, the last lines of each stream and where the full transcript is."""

    verdict = Verdict.TIMEOUT
    output: bytes = b""
    """As `GuestStopped.output`."""


class GuestCrash(HarnessError):
    """The guest's kernel crashed or warned; `crash` has the kind, the head line and the trace."""

    verdict = Verdict.CRASH
    output: bytes = b""
    """As `GuestStopped.output`."""

    def __init__(self, crash: Crash, where: str = "") -> None:
        super().__init__(f"{crash.describe()}{where}")
        self.crash = crash


class CommandFailed(HarnessError):
    """A command in the guest ended with a status other than 0, where success was asked for."""

    verdict = Verdict.PRODUCT


class GuestFileError(HarnessError):
    """The guest could not read or write a file; the message has its errno and words."""

    verdict = Verdict.PRODUCT
