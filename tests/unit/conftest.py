# SPDX-License-Identifier: MIT
"""How many examples Hypothesis tries: fewer with ``HYPOTHESIS_PROFILE=check``; and what all tests
leave.

Hypothesis's plugin, which has an option for that, is off (``pytest.ini``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# What other packages add to Hypothesis takes a quarter of a second to import, and is not used here.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

import pytest
from hypothesis import settings

from harness.host import command

# Tests that want more or less take a share of the profile's number: `settings().max_examples`.
settings.register_profile("check", max_examples=25)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


@pytest.fixture(scope="session", autouse=True)
def no_report_is_left() -> Iterator[None]:
    """Of errors that tests provoke."""
    write, written = command.write_report, list[str]()

    def noted(error: BaseException) -> str:
        written.append(write(error))
        return written[-1]

    command.write_report = noted
    yield
    command.write_report = write
    for path in filter(None, written):
        Path(path).unlink(missing_ok=True)
