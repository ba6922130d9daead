# SPDX-License-Identifier: MIT
"""QEMU is stopped or killed: nobody blames the guest for it."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest

from harness.errors import HarnessError, Verdict
from harness.guest.guest import Guest
from harness.machine.config import MachineConfig
from harness.machine.errors import GuestTimeout, HostStalled, QemuDied
from harness.machine.machine import Machine
from harness.machine.stall import LIMIT
from harness.machine.template import TemplateStore
from harness.pytest_plugin.session import Session
from harness.testrun.suite import Suite

pytestmark = pytest.mark.needs("agent")

OVER_LIMIT = LIMIT + 3
"""Seconds of a deadline that a stopped QEMU misses, and by which the stop is noticed."""
VICTIMS = """\
import os, signal
import pytest
from harness.machine.errors import GuestTimeout

pytestmark = pytest.mark.needs("agent")

def test_stopped(guest):
    os.kill(guest.machine.pid, signal.SIGSTOP)
    try:
        guest.run("echo hello", {seconds})
    finally:
        os.kill(guest.machine.pid, signal.SIGCONT)

def test_stopped_and_wrong(guest):
    os.kill(guest.machine.pid, signal.SIGSTOP)
    with pytest.raises(GuestTimeout):
        guest.run("echo hello", {seconds})
    os.kill(guest.machine.pid, signal.SIGCONT)
    assert False, "what it measured is wrong"

def test_killed(guest):
    os.kill(guest.machine.pid, signal.SIGKILL)
    guest.run("echo hello")

def test_terminated(guest):
    os.kill(guest.machine.pid, signal.SIGTERM)
    guest.run("echo hello")

def test_hangs_by_itself(guest):
    guest.run("sleep 600", {seconds})

def test_wrong_by_itself(guest):
    assert guest.run("echo hello").text == "goodbye"
"""


def test_a_machine_that_was_stopped_proves_nothing(
    machine_config: MachineConfig, templates: TemplateStore
) -> None:
    def stopped() -> None:
        with templates.get(machine_config).clone() as machine:
            os.kill(machine.pid, signal.SIGSTOP)
            Guest(machine).run("echo hello", OVER_LIMIT)

    with pytest.raises(HostStalled, match=r"QEMU was stopped for \d"):
        stopped()


def test_a_guest_that_hangs_by_itself_is_not_excused(
    machine_config: MachineConfig, templates: TemplateStore
) -> None:
    machine = templates.get(machine_config).clone()
    with machine, pytest.raises(GuestTimeout) as caught:
        Guest(machine).run("sleep 600", OVER_LIMIT)
    machine.excuse(caught.value)


def test_a_template_that_was_made_on_a_stopped_host_is_thrown_away(
    machine_config: MachineConfig, tmp_path: Path
) -> None:
    store = TemplateStore(tmp_path)

    def stopped(machine: Machine) -> None:
        os.kill(machine.pid, signal.SIGSTOP)
        try:
            with pytest.raises(HarnessError):
                machine.channel.run("echo hello", OVER_LIMIT)
        finally:
            os.kill(machine.pid, signal.SIGCONT)
        machine.channel.probe(20)

    with pytest.raises(HostStalled):
        store.get(machine_config, "stopped", stopped)
    assert list(tmp_path.glob("*/meta.json")) == []


def test_the_suite_s_verdicts_on_machines_that_were_stopped_or_killed(
    qemu_session: Session, machine_config: MachineConfig, tmp_path: Path
) -> None:
    """As gate, mutants and night read them."""
    victims = tmp_path / "test_victims.py"
    victims.write_text(VICTIMS.format(seconds=OVER_LIMIT))
    suite = Suite(qemu_session.cache, tmp_path / "cache")
    run = suite.run(machine_config.images, tmp_path / "run", targets=[str(victims)], stop_after=100)
    verdicts = {case.test.rpartition("::")[2]: case.verdict for case in run.cases}
    assert verdicts == {
        "test_stopped": "infrastructure",
        "test_stopped_and_wrong": "infrastructure",
        "test_killed": "infrastructure",
        "test_terminated": "infrastructure",
        "test_hangs_by_itself": "timeout",
        "test_wrong_by_itself": "product",
    }, run.log.read_text()[-3000:]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV])
def test_a_qemu_that_is_killed_at_any_moment_is_infrastructure(
    machine_config: MachineConfig,
    templates: TemplateStore,
    rounds: int,
    chance: random.Random,
    number: signal.Signals,
) -> None:
    template = templates.get(machine_config)

    def work() -> None:
        with template.clone() as machine:
            guest = Guest(machine)
            threading.Timer(chance.uniform(0, 0.5), os.kill, (machine.pid, number)).start()
            while True:
                guest.run("cat /proc/iomem")
                guest.read_text("/proc/meminfo")

    for _ in range(rounds):
        with pytest.raises(QemuDied) as caught:
            work()
        assert caught.value.verdict is Verdict.INFRASTRUCTURE
