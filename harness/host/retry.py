# SPDX-License-Identifier: MIT
"""Once more after infrastructure: the one place that says when something is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.errors import HarnessError, UserError, Verdict

ATTEMPTS = 2
"""How often something is tried of which infrastructure leaves nothing known."""

T = TypeVar("T")


def _known(result: object) -> str:
    """For what always says something."""
    return ""


def retried(
    call: Callable[[], T],
    again: Callable[[str], object] = lambda why: None,
    unknown: Callable[[T], str] = _known,
) -> T:
    """What `call` gives; called once more where it says nothing of the system under test.

    That is a `HarnessError` whose verdict is infrastructure (what the user gave is none: it will
    not get better), or a result of which `unknown` says why nothing is known; empty for a result
    that counts. `again` is told the reason before the second call. That one's result or error is
    final, whatever it is.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            result = call()
        except HarnessError as error:
            if isinstance(error, UserError) or error.verdict is not Verdict.INFRASTRUCTURE:
                raise
            why = str(error).partition("\n")[0]
        else:
            why = unknown(result)
            if not why:
                return result
        again(why)
    return call()
