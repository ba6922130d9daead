# SPDX-License-Identifier: MIT
"""Fixtures: image sets, templates, and a pristine guest for each test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builders.own import Builds
from harness.guest.guest import Guest
from harness.guest.ssh.service import warm
from harness.host.output import fresh
from harness.imageset.features import offered, parse
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.template import TemplateStore
from harness.pytest_plugin import skips
from harness.pytest_plugin.boots import BOOTS, Boots
from harness.pytest_plugin.session import Session, session_of
from harness.testrun.junit import directory_name


@pytest.fixture(scope="session")
def qemu_session(request: pytest.FixtureRequest) -> Session:
    """The run's settings and images."""
    return session_of(request.config)


@pytest.fixture(scope="session")
def kernel_version(qemu_session: Session, request: pytest.FixtureRequest) -> str:
    """The kernel under test: ``6.1``, …, or ``given`` for ``--qemu-kernel``."""
    return str(getattr(request, "param", qemu_session.versions[0]))


@pytest.fixture(scope="session")
def image_set(qemu_session: Session, kernel_version: str) -> ImageSet:
    """What the machines of this run boot from."""
    return qemu_session.image_set(kernel_version)


@pytest.fixture(scope="session")
def builds(qemu_session: Session, kernel_version: str) -> Builds:
    """Builds what a repository brings for the kernel under test: ``builds.module(DIR)``,
    ``builds.program(DIR)``, ``builds.device_tree(FILE)``. Each is built once.
    """
    return qemu_session.builds(kernel_version)


@pytest.fixture(scope="session")
def machine_config(qemu_session: Session, image_set: ImageSet) -> MachineConfig:
    """The machine of this run; tests derive others from it with `dataclasses.replace`."""
    settings = qemu_session.settings
    trace = settings.coverage_files if settings.coverage else ()
    return MachineConfig(image_set, qemu_session.memory_mib, settings.append, trace=trace)


@pytest.fixture(autouse=True)
def needs_are_met(request: pytest.FixtureRequest) -> None:
    """Skips a test whose ``needs`` mark names what the system under test does not offer."""
    needs = {parse(name) for mark in request.node.iter_markers("needs") for name in mark.args}
    if not needs or "qemu_session" not in request.fixturenames:
        return
    images: ImageSet = request.getfixturevalue("image_set")
    missing = needs - offered(images.features)
    if missing:
        pytest.skip(skips.reason(images, missing))


@pytest.fixture(scope="session")
def templates(qemu_session: Session) -> TemplateStore:
    """Where frozen machines are kept."""
    return TemplateStore(qemu_session.cache / "templates", warm)


@pytest.fixture
def artifacts(request: pytest.FixtureRequest, qemu_session: Session) -> Path:
    """The directory of this test's transcripts, empty at its start."""
    return _fresh_directory(qemu_session, request.node.nodeid)


def _fresh_directory(session: Session, nodeid: str) -> Path:
    return fresh(session.settings.artifacts / directory_name(nodeid))


@pytest.fixture
def boots(
    request: pytest.FixtureRequest,
    qemu_session: Session,
    templates: TemplateStore,
    artifacts: Path,
) -> Iterator[Boots]:
    """Machines that end with the test."""
    boots = Boots(qemu_session, templates, artifacts)
    request.node.stash[BOOTS] = boots
    yield boots
    boots.close()


@pytest.fixture(scope="class")
def class_boots(
    request: pytest.FixtureRequest, qemu_session: Session, templates: TemplateStore
) -> Iterator[Boots]:
    """Machines that end with the test class."""
    directory = _fresh_directory(qemu_session, request.node.nodeid)
    boots = Boots(qemu_session, templates, directory)
    yield boots
    boots.close()


@pytest.fixture(scope="class")
def class_guest(class_boots: Boots, machine_config: MachineConfig) -> Guest:
    """One clone for all tests of a class."""
    return class_boots.clone(machine_config, "booted", None)


@pytest.fixture
def guest(request: pytest.FixtureRequest, qemu_session: Session) -> Guest:
    """A guest: by default a pristine clone for this test alone.

    ``@pytest.mark.machine("class")`` shares one clone within the test class,
    ``@pytest.mark.machine("cold")`` boots one, ``@pytest.mark.machine("loaded")`` clones a template
    that was frozen after insmod.
    """
    mark = request.node.get_closest_marker("machine")
    kind = mark.args[0] if mark else "clone"
    if kind == "class":
        # First, so that a crash while the guest starts is reported with its machine.
        request.node.stash[BOOTS] = request.getfixturevalue("class_boots")
        guest: Guest = request.getfixturevalue("class_guest")
        return guest
    boots: Boots = request.getfixturevalue("boots")
    config: MachineConfig = request.getfixturevalue("machine_config")
    words = " ".join(mark.kwargs.get("append", "").split()) if mark else ""
    config = dataclasses.replace(config, append=f"{config.append} {words}".strip())
    if kind == "cold":
        return boots.cold(config)
    if kind == "loaded":
        return boots.clone(config, "loaded", lambda machine: Guest(machine).insmod())
    return boots.clone(config, "booted", None)
