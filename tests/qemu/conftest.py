# SPDX-License-Identifier: MIT
"""What the tests share: BiscuitOS output trees, and one environment with the wheel."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.builders.biscuitos_tree import build_kernel, build_tree
from harness.builders.cache import Cache
from harness.errors import HarnessError
from harness.host.progress import LazyProgress
from harness.imageset.model import ImageSet
from harness.pytest_plugin.session import Session, session_of
from tests.qemu.installed import made_once

FIXTURE = "biscuitos_tree"
FAILED: pytest.StashKey[HarnessError] = pytest.StashKey()
"""Why the trees' kernel could not be built."""


def is_ours(images: ImageSet) -> bool:
    """Whether the kernel is one that was built here, and its sources are at hand."""
    return "tree" in images.kernel.parts


@pytest.hookimpl(trylast=True)  # what -k takes away is away
def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the trees' kernel before the first test begins: it takes longer than a test may."""
    config = session.config
    wanted = any(FIXTURE in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or not config.getoption("--qemu") or config.getoption("collectonly", False):
        return
    images = session_of(config).image_set(session_of(config).versions[0])
    if is_ours(images):
        progress = LazyProgress()
        try:
            build_kernel(Cache(say=progress.say), images, progress)
        except HarnessError as error:  # it is of these tests only
            config.stash[FAILED] = error


@pytest.fixture(scope="session")
def biscuitos_tree(image_set: ImageSet, pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """Directories with an output tree: ``new``, or ``old`` with nothing of ours in the image."""
    if not is_ours(image_set):
        pytest.skip("the trees are made of the project's own kernel, and another was given")
    if FAILED in pytestconfig.stash:
        raise pytestconfig.stash[FAILED]

    def made(layout: str) -> Path:
        return build_tree(Cache(), image_set, LazyProgress(), old=layout == "old")

    return made


@pytest.fixture(scope="session")
def wheel_environment(tmp_path_factory: pytest.TempPathFactory, qemu_session: Session) -> Path:
    """A fresh environment with the wheel. The session's images are built by then, and are in the
    cache that the environment uses.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place = shared / "wheel"
    place.mkdir(exist_ok=True)
    return made_once(place)
