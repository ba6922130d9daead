# SPDX-License-Identifier: MIT
"""A suite of N tests, each on a pristine machine, for one peer: run by pytest under xdist.

``BENCH`` in the environment has the images and N as JSON, and the peer's name.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

GIVEN: dict[str, Any] = json.loads(os.environ["BENCH"])


@pytest.mark.parametrize("number", range(GIVEN["tests"]))
def test_main_job_on_a_pristine_machine(number: int) -> None:
    if GIVEN["peer"] == "here":
        from harness.bench import here
        from harness.guest import Guest

        with here.template_of(GIVEN, loaded=True).clone() as machine:
            Guest(machine).run_app()
        return
    peer = __import__(f"{GIVEN['peer']}_peer")
    with peer.booted(GIVEN) as booted:
        peer.main_job(booted[1] if GIVEN["peer"] == "labgrid" else booted, GIVEN)
