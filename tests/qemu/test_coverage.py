# SPDX-License-Identifier: MIT
"""``--qemu-coverage`` on a real kernel: what each test executed, and nothing else, is noted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.coverage.functions import FUNCTIONS
from harness.coverage.functions import read as read_functions
from harness.coverage.record import CoverageRecord, read
from harness.guest.executed import UNPLACED, in_driver
from harness.host.project import PYTHON_PATH
from harness.imageset.linetable import TRACED
from harness.imageset.model import ImageSet
from harness.machine.executed import EVERY_FUNCTION

TESTS = """
import pytest
from harness.guest.guest import Guest
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine

def test_nothing(guest: Guest) -> None:
    guest.run("true")

def test_load(guest: Guest) -> None:
    guest.insmod()

def test_allocate(guest: Guest) -> None:
    guest.insmod()
    guest.run_app()

@pytest.mark.machine("loaded")
def test_loaded(guest: Guest) -> None:
    guest.run("true")

@pytest.mark.machine("loaded")
def test_loaded_again(guest: Guest) -> None:
    guest.rmmod()
    guest.run(f"insmod {guest.module_path()}")
    guest.run_app()

def test_own_boot(machine_config) -> None:
    with Machine(machine_config) as machine:
        machine.start()
        machine.open()

def test_own_config(boots, machine_config) -> None:
    boots.cold(MachineConfig(machine_config.images, 256)).run("true")
"""
CMA = "mm/cma.c"
DRIVER = "images/module/cma.c"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, image_set: ImageSet) -> Path:
    """The record of seven tests, run by two processes."""
    place = tmp_path_factory.mktemp("coverage")
    (place / "test_it.py").write_text(TESTS)
    image_set.write(place / "images.json")
    words = ["--qemu", "--qemu-coverage", "--qemu-image-set", str(place / "images.json"), "-n", "2"]
    words += ["--qemu-coverage-files", " ".join((*TRACED, EVERY_FUNCTION))]
    words += ["--rootdir", str(place), "--qemu-artifacts", str(place / "artifacts")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, "test_it.py"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(PYTHON_PATH)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "coverage: " in done.stdout
    assert (place / "artifacts" / "coverage" / "coverage.info").is_file()
    return place / "artifacts" / "coverage" / "coverage.json"


@pytest.fixture(scope="module")
def record(run: Path) -> CoverageRecord:
    return read(run)


def functions(record: CoverageRecord, test: str, file: str) -> set[str]:
    """The functions of which a test executed a line."""
    lines = record.tests[f"test_it.py::{test}"].get(file, frozenset())
    return {record.function_of(file, line) for line in lines}


def test_a_test_that_does_nothing_executes_nothing_of_cma(record: CoverageRecord) -> None:
    assert functions(record, "test_nothing", CMA) == set()
    assert functions(record, "test_nothing", DRIVER) == set()


def test_an_allocation_executes_the_allocator_and_the_driver(record: CoverageRecord) -> None:
    assert {"cma_alloc", "cma_release", "cma_clear_bitmap"} <= functions(
        record, "test_allocate", CMA
    )
    assert "cma_alloc" not in functions(record, "test_load", CMA)
    assert "cma_activate_area" not in functions(record, "test_allocate", CMA)
    loaded = functions(record, "test_load", DRIVER)
    assert loaded
    assert loaded < functions(record, "test_allocate", DRIVER)


def test_a_driver_that_a_test_loads_again_is_found(record: CoverageRecord) -> None:
    again = functions(record, "test_loaded_again", DRIVER)
    assert functions(record, "test_allocate", DRIVER) <= again


def test_the_boot_is_kept_apart_from_the_tests_of_clones(record: CoverageRecord) -> None:
    at_boot = {record.function_of(CMA, line) for line in record.boot[CMA]}
    assert {"cma_init_reserved_areas", "cma_activate_area"} <= at_boot
    assert "cma_activate_area" in functions(record, "test_own_boot", CMA)
    assert not record.boot.keys() & {DRIVER}, "what was done to a template is no boot"
    assert functions(record, "test_loaded", DRIVER) == functions(record, "test_load", DRIVER)


def test_the_functions_of_the_whole_kernel_are_noted(run: Path) -> None:
    found = read_functions(run.with_name(FUNCTIONS))
    assert {"start_kernel", "cma.c:cma_init_reserved_areas"} <= found.boot
    executed = {name.rpartition("::")[2]: part for name, part in found.tests.items()}
    assert in_driver("cma.c:cma_ioctl") in executed["test_allocate"] - executed["test_load"]
    for test in ("test_load", "test_loaded"):
        assert "find_cma_by_name" in executed[test]
    assert "find_cma_by_name" not in found.boot | executed["test_nothing"]
    for test in ("test_own_boot", "test_own_config"):
        assert "start_kernel" in executed[test]
    assert "start_kernel" not in executed["test_nothing"]
    assert UNPLACED not in {name for part in executed.values() for name in part}


def test_only_lines_with_code_are_executed(record: CoverageRecord) -> None:
    for lines in (record.boot, *record.tests.values()):
        for file, numbers in lines.items():
            assert numbers <= record.code[file], file
