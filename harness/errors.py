# SPDX-License-Identifier: MIT
"""One family of exceptions. Each knows who is at fault, so that no caller has to guess from
text.
"""

from __future__ import annotations

import enum

from harness.plaintext import clean


class Verdict(enum.Enum):
    """Who is at fault when something does not pass. Only ``INFRASTRUCTURE`` is ever tried again."""

    PRODUCT = "product"
    """The system under test answered, and the answer is wrong."""
    CRASH = "crash"
    """The guest's kernel panicked, oopsed or warned."""
    TIMEOUT = "timeout"
    """The guest gave no answer by the deadline and did not crash."""
    INFRASTRUCTURE = "infrastructure"
    """The harness, QEMU or the host failed; nothing is known of the system under test."""


class HarnessError(Exception):
    """Base of all errors that the harness raises on purpose.

    ``str(error)`` is the message for the user: what was wrong, where, and what to do about it. It
    may quote a guest or a patch, so it is cleaned for a terminal.
    """

    verdict = Verdict.INFRASTRUCTURE

    def __str__(self) -> str:
        return clean(super().__str__())


class UserError(HarnessError):
    """What the user gave cannot be used (a missing file, a wrong option). Exit status 2, no
    traceback.
    """


class BuildError(HarnessError):
    """A build step failed. The message has the first error of the compiler and the path of the
    log.
    """


class JudgementError(HarnessError):
    """The system under test gave a wrong or contradictory answer about memory."""

    verdict = Verdict.PRODUCT
