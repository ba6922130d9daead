# SPDX-License-Identifier: MIT
"""What is tried once more, and what is not."""

from __future__ import annotations

import pytest

from harness.errors import BuildError, HarnessError, JudgementError, UserError, Verdict
from harness.host.retry import ATTEMPTS, retried


class Trouble(HarnessError):
    verdict = Verdict.INFRASTRUCTURE


class Calls:
    """Gives the results that it was made with, one after the other."""

    def __init__(self, *results: int | Exception) -> None:
        self.results = list(results)
        self.said: list[str] = []

    def __call__(self) -> int:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def run(self) -> int:
        return retried(self, self.said.append, lambda value: "below" if value < 0 else "")


def test_what_counts_is_taken_at_once() -> None:
    calls = Calls(1, 2)
    assert calls.run() == 1
    assert calls.said == []


@pytest.mark.parametrize("first", [Trouble("no room\nmore"), BuildError("no room"), -1])
def test_infrastructure_is_tried_once_more_and_the_reason_is_told(first: int | Exception) -> None:
    calls = Calls(first, 2)
    assert calls.run() == 2
    assert calls.said == ["below" if first == -1 else "no room"]


def test_the_last_attempt_counts_whatever_it_is() -> None:
    assert Calls(*[-1] * ATTEMPTS).run() == -1
    calls = Calls(Trouble("one"), Trouble("two"))
    with pytest.raises(Trouble, match="two"):
        calls.run()
    assert ATTEMPTS == 2


@pytest.mark.parametrize("error", [UserError("no such file"), JudgementError("wrong area")])
def test_what_would_be_the_same_again_is_not_tried_again(error: Exception) -> None:
    calls = Calls(error, 1)
    with pytest.raises(type(error)):
        calls.run()
    assert calls.results == [1]
