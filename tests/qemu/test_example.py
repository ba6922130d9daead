# SPDX-License-Identifier: MIT
"""``examples/own-driver``, copied elsewhere and changed, with the installed package alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.host.project import ROOT
from tests.qemu.installed import Installed

EXAMPLE = ROOT / "examples" / "own-driver"


@pytest.fixture
def copy(tmp_path: Path, wheel_environment: Path) -> Installed:
    """A copy of the example, as somebody else's repository."""
    shutil.copytree(EXAMPLE, tmp_path / "driver of mine")
    return Installed(wheel_environment, tmp_path / "driver of mine")


def edit(copy: Installed, name: str, old: str, new: str) -> None:
    path = copy.repository / name
    assert old in path.read_text(), f"{name} has no {old!r}"
    path.write_text(path.read_text().replace(old, new))


def test_its_ten_tests_pass(copy: Installed) -> None:
    done = copy.run("pytest", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_with_an_area_of_another_name_place_and_size(copy: Installed) -> None:
    edit(copy, "board/ring.dts", "ring_area: ring {", "ring_area: frames {")
    edit(copy, "board/ring.dts", "size = <0x00400000>", "size = <0x00800000>")
    edit(copy, "board/ring.dts", "<0x69800000 0x00400000>", "<0x6a000000 0x00800000>")
    edit(copy, "pytest.ini", "qemu_area = ring", "qemu_area = frames")
    edit(copy, "tests/test_ring.py", "AREA = 4 * MIB", "AREA = 8 * MIB")
    edit(copy, "tests/test_ring.py", "0x69800000", "0x6A000000")
    edit(copy, "tests/test_ring.py", '"ring"', '"frames"')
    done = copy.run("pytest", "-p", "no:cacheprovider", "-k", "placed or own_area or all_of")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_a_driver_that_keeps_memory_is_noticed(copy: Installed) -> None:
    edit(
        copy, "driver/ring.c", "if (ring->memory)\n\t\tdma_free", "if (!ring->memory)\n\t\tdma_free"
    )
    done = copy.run("pytest", "-p", "no:cacheprovider", "-k", "killed or own_area")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "verdict: product" in done.stdout


def test_a_driver_that_does_not_compile_is_told_with_its_line(copy: Installed) -> None:
    edit(copy, "driver/ring.c", "return -EBUSY;", "return -EBUSY")
    done = copy.run("pytest", "-p", "no:cacheprovider", "-k", "own_area")
    assert done.returncode == 1
    assert f"{copy.repository}/driver/ring.c:56:9: error: expected" in done.stdout
    assert "Traceback" not in done.stdout
    assert "process.py" not in done.stdout
