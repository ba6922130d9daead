# SPDX-License-Identifier: MIT
"""The machines of one test or one class of tests."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.guest.guest import Guest
from harness.host.output import own
from harness.imageset.features import Feature
from harness.machine.config import MachineConfig
from harness.machine.machine import BOOT_TIMEOUT, Machine
from harness.machine.template import Prepare, Template, TemplateGone, TemplateStore
from harness.pytest_plugin.session import Session


class Boots:
    """Starts machines for one scope, and ends them with it."""

    def __init__(self, session: Session, templates: TemplateStore, directory: Path) -> None:
        self._session = session
        self.templates = templates
        self._directory = directory
        self.machines: list[Machine] = []

    def _place(self) -> Path:
        number = len(self.machines)
        return self._directory / f"machine-{number}" if number else self._directory

    def cold(self, config: MachineConfig, timeout: float = BOOT_TIMEOUT) -> Guest:
        """Boots a machine of its own, with `timeout` seconds to its first answer."""
        config = self._traced(config)
        machine = Machine(config, self._place(), self._session.live, gdb=self._session.gdb)
        self.machines.append(machine)
        machine.start()
        machine.open(timeout)
        return self._guest(machine)

    def _guest(self, machine: Machine) -> Guest:
        guest = Guest(machine, self._session.settings.area)
        features = machine.config.images.features
        if Feature.CMA_DEBUGFS in features and Feature.AGENT not in features:
            # A user's root image: the kernel has debugfs, but it may not be mounted.
            guest.run("mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; :")
        return guest

    def clone(self, config: MachineConfig, point: str, prepare: Prepare | None) -> Guest:
        """A clone of the template at `point`; a cold boot where that fails, which the summary says
        with what it cost.
        """
        session, begun = self._session, time.monotonic()
        if session.clones.hopeless:
            return self._instead(config, prepare, begun, session.clones.why)
        try:
            machine = self._clone(config, point, prepare)
        except HarnessError as error:
            if session.settings.strict:
                raise  # each boot in place of a clone costs more than a second
            session.clones.failed(str(error))
            return self._instead(config, prepare, begun, str(error))
        session.clones.started += 1
        self.machines.append(machine)
        return self._guest(machine)

    def _traced(self, config: MachineConfig) -> MachineConfig:
        """A test's own config, noting what the run asks for."""
        settings = self._session.settings
        if not settings.coverage or config.trace:
            return config
        return dataclasses.replace(config, trace=settings.coverage_files)

    def _instead(
        self, config: MachineConfig, prepare: Prepare | None, begun: float, why: str
    ) -> Guest:
        guest = self.cold(config)
        if prepare is not None:
            prepare(guest.machine)
        self._session.clones.instead.append((time.monotonic() - begun, why))
        return guest

    def _clone(self, config: MachineConfig, point: str, prepare: Prepare | None) -> Machine:
        config = self._traced(config)
        template = self._template(config, point, prepare)
        session = self._session
        try:
            return template.clone(self._place(), session.live, gdb=session.gdb)
        except TemplateGone:
            pass  # who has removed it makes it again, or we do
        except HarnessError:
            # Again, from a new template: this one may be damaged, or of an older format.
            self.templates.discard(template)
        template = self._template(config, point, prepare)
        return template.clone(self._place(), session.live, gdb=session.gdb)

    def _template(self, config: MachineConfig, point: str, prepare: Prepare | None) -> Template:
        directory = own(self._session.settings.artifacts / "templates")
        return self.templates.get(
            config, point, prepare or (lambda machine: None), artifacts=directory
        )

    def close(self) -> None:
        """Ends all machines."""
        for machine in self.machines:
            machine.close()


BOOTS: pytest.StashKey[Boots] = pytest.StashKey()
"""A test's machines, in its stash."""
