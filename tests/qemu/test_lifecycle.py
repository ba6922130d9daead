# SPDX-License-Identifier: MIT
"""Whatever ends the harness, nothing of it stays: processes, sockets, temporary files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.machine.config import MachineConfig
from harness.machine.deadline import Deadline
from harness.machine.process import leaked
from harness.machine.template import TemplateStore, key

pytestmark = pytest.mark.needs("agent")

ROOT = Path(__file__).resolve().parents[2]
RUNNER = """\
import sys
from harness.machine import process
process.SESSION = sys.argv[1]
from tests.qemu.test_lifecycle import work
work(sys.argv[2], sys.argv[3:])
"""
KILLS = 50


def work(store: str, images: list[str]) -> None:
    """What is killed: templates made, clones started, commands run, without end."""
    from harness.imageset.features import parse_all
    from harness.imageset.model import ImageSet

    kernel, dtb, initrd, features = images
    files = ImageSet(Path(kernel), Path(dtb), Path(initrd), features=parse_all(features.split(",")))
    config = MachineConfig(files)
    print("ready", flush=True)
    while True:
        template = TemplateStore(Path(store)).get(config)
        for _ in range(3):
            with template.clone() as machine:
                machine.channel.run("echo hello", 10)
        TemplateStore(Path(store)).discard(template)


def gone(session: str) -> list[str]:
    """What is left of a session, once the kernel has had time to end it."""
    deadline = Deadline(5)
    while (left := leaked(session)) and not deadline.expired:
        os.sched_yield()
    return left


@pytest.mark.timeout(300)
def test_nothing_survives_a_kill_at_any_moment(
    machine_config: MachineConfig, tmp_path: Path
) -> None:
    images = machine_config.images
    files = [str(images.kernel), str(images.dtb), str(images.initrd)]
    arguments = [str(tmp_path / "store"), *files, ",".join(sorted(images.features))]
    chance = random.Random(20261124)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    for number in range(KILLS):
        session = f"kill-{os.getpid()}-{number}"
        with subprocess.Popen(
            [sys.executable, "-c", RUNNER, session, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        ) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == b"ready\n"
            # The moment is the point here: mostly in a clone's life, sometimes in a boot.
            time.sleep(chance.uniform(0, 0.6 if number % 5 else 2.5))
            run.send_signal(signal.SIGKILL)
        assert gone(session) == []
    assert list(temporary.iterdir()) == []
    template = TemplateStore(tmp_path / "store").get(machine_config)
    with template.clone() as machine:
        assert machine.channel.run("echo usable", 10).text == "usable\n"


def test_the_key_of_a_template_is_that_of_everything_in_it(machine_config: MachineConfig) -> None:
    import dataclasses

    keys = {key(machine_config, "booted"), key(machine_config, "loaded")}
    for change in ({"memory_mib": 256}, {"append": "quiet"}, {"icount": True}):
        keys.add(key(dataclasses.replace(machine_config, **change), "booted"))
    assert len(keys) == 5


def test_templates_are_listed_by_their_age_and_removed(
    machine_config: MachineConfig, tmp_path: Path
) -> None:
    store = TemplateStore(tmp_path)
    template = store.get(machine_config)
    with template.clone() as machine:
        assert store.unused(older_than=60) == []
        ((directory, size),) = store.unused()
        assert size > 10 << 20
        store.remove(directory)
        assert store.unused() == []
        assert machine.channel.run("echo goes on", 10).text == "goes on\n"
    assert not list(tmp_path.glob("*"))
