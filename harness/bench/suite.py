# SPDX-License-Identifier: MIT
"""A suite of N tests, each on a pristine machine, for one peer: run by pytest under xdist.

``BENCH`` in the environment has the images and N as JSON, and the peer's name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

GIVEN: dict[str, Any] = json.loads(os.environ["BENCH"])


@pytest.mark.parametrize("number", range(GIVEN["tests"]))
def test_main_job_on_a_pristine_machine(number: int) -> None:
    if GIVEN["peer"] == "here":
        from harness.bench import here
        from harness.guest import Guest
        from harness.images import ImageSet
        from harness.machine.machine import MachineConfig
        from harness.machine.template import TemplateStore

        images = ImageSet(
            **{name: Path(GIVEN[name]) for name in ("kernel", "dtb", "initrd", "module", "app")},
            append=GIVEN["append"],
            release=GIVEN["release"],
            features=frozenset(GIVEN["features"]),
        )
        template = TemplateStore(Path(GIVEN["templates"])).get(MachineConfig(images))
        with template.clone() as machine:
            here.main_job(Guest(machine))
        return
    peer = __import__(f"{GIVEN['peer']}_peer")
    with peer.booted(GIVEN) as booted:
        peer.main_job(booted[1] if GIVEN["peer"] == "labgrid" else booted, GIVEN)
