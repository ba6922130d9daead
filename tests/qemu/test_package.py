# SPDX-License-Identifier: MIT
"""The wheel in a fresh environment, used by a repository that has nothing of this project."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from harness.builders.kernel_source import DEFAULT, is_version
from harness.host.project import ROOT
from harness.pytest_plugin.session import Session
from tests.qemu.installed import Installed

THEIR_TEST = """
from harness.guest.guest import Guest

def test_their_kernel(guest: Guest) -> None:
    assert guest.run("uname -s").text == "Linux\\n"
    assert guest.memory_map().area("BiscuitOS_cma").range.start == 0x69800000
"""
SELECTED = "tests/cma/test_main_job.py::TestAreasAtBoot::test_every_witness_of_our_kernel_speaks"
APP = "images/app/cma_area_app.c"


def patch() -> str:
    """A comment for the application."""
    before = (ROOT / APP).read_text().splitlines(keepends=True)
    after = [*before[:1], "/* A comment, which changes nothing. */\n", *before[1:]]
    return "".join(difflib.unified_diff(before, after, f"a/{APP}", f"b/{APP}"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel_environment: Path) -> Installed:
    """Somebody else's repository."""
    found = Installed(wheel_environment, tmp_path_factory.mktemp("repository"))
    (found.repository / "test_theirs.py").write_text(THEIR_TEST)
    (found.repository / "app.patch").write_text(patch())
    (found.repository / "selection").write_text(SELECTED + "\n")
    return found


@pytest.fixture
def words(qemu_session: Session) -> list[str]:
    """pytest's, with the kernel that this run has."""
    version = next(filter(is_version, qemu_session.versions), DEFAULT)
    return ["pytest", "--qemu", "--qemu-kernel-version", version, "-p", "no:cacheprovider"]


def test_a_foreign_repository_s_test_gets_a_guest(installed: Installed, words: list[str]) -> None:
    done = installed.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_suite_runs_from_the_package(installed: Installed, words: list[str]) -> None:
    done = installed.run(*words, "--pyargs", "harness.data.tests.cma.test_main_job")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)


def test_the_main_job(installed: Installed) -> None:
    done = installed.run("harness", "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("PASS BiscuitOS_cma 0x69800000-0x69ffffff")
    assert (installed.repository / "artifacts" / "run" / "transcript.txt").is_file()


def test_a_patch_goes_through_the_gate(installed: Installed) -> None:
    done = installed.run("harness", "gate", "app.patch", "--select", "selection")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ACCEPTED")


def test_what_is_missing_is_named_with_its_package(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("harness", "run", variables={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "qemu-system-arm" in done.stderr
    assert "apt-get install" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_type_checker_and_the_user_see(installed: Installed) -> None:
    package = next(installed.bin.parent.glob("lib/python3*/site-packages/harness"))
    assert (package / "py.typed").is_file()
    assert not list(package.rglob("data/**/*.ko"))
    version = installed.run("harness", "--version")
    assert version.stdout.startswith("harness, version ")
