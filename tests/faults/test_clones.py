# SPDX-License-Identifier: MIT
"""Clones on a host that has other things to do: each answers, and none is blamed for the load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.guest.guest import Guest
from harness.host.process import kill_group
from harness.machine.config import MachineConfig
from harness.machine.template import TemplateStore

pytestmark = [pytest.mark.needs("agent"), pytest.mark.timeout(7200)]

BUSY = """\
import os
for _ in range(int(os.environ["LOOPS"]) - 1):
    if os.fork() == 0:
        break
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[None]:
    """Two loops that compute for each core that we have."""
    loops = 2 * len(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], process_group=0, env={**os.environ, "LOOPS": str(loops)}
    )
    try:
        yield
    finally:
        kill_group(process)


@pytest.mark.usefixtures("busy")
def test_clones_on_a_loaded_host_all_answer(
    machine_config: MachineConfig, templates: TemplateStore, rounds: int
) -> None:
    """``--rounds 50`` are a thousand."""
    template = templates.get(machine_config)
    for number in range(20 * rounds):
        with template.clone() as machine:
            guest = Guest(machine)
            assert guest.run(f"echo {number}").text == f"{number}\n"
            assert "System RAM" in guest.read_text("/proc/iomem")
