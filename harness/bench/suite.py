# SPDX-License-Identifier: MIT
"""A suite of N tests, each a command on a pristine machine, for one peer; pytest runs it.

``BENCH`` in the environment has the images and N as JSON, and the peer's name.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

GIVEN: dict[str, Any] = json.loads(os.environ["BENCH"])


@pytest.mark.parametrize("number", range(GIVEN["tests"]))
def test_a_command_on_a_pristine_machine(number: int) -> None:
    if GIVEN["peer"] == "here":
        from harness.bench import here

        with here.template_of(GIVEN).clone() as machine:
            assert machine.channel.run("echo hello", 10).text == "hello\n"
        return
    peer = __import__(f"{GIVEN['peer']}_peer")
    with peer.booted(GIVEN) as booted:
        if GIVEN["peer"] == "labgrid":
            assert booted[1].run_check("echo hello") == ["hello"]
        else:
            peer.run(booted, "echo hello")
