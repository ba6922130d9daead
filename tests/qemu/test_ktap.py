# SPDX-License-Identifier: MIT
"""A user's own tests in the guest: kselftest by ``--qemu-ktap``, KUnit by the boot's kernel log."""

from __future__ import annotations

import pytest

from harness.ktap import NoKtap
from harness.pytest_plugin.cases import Ktap


def test_the_cases_of_the_command(ktap: Ktap, ktap_command: str) -> None:
    ktap.run(ktap_command)


def test_the_cases_of_the_boot(ktap: Ktap) -> None:
    try:
        ktap.boot()
    except NoKtap as error:
        pytest.skip(str(error))
