# SPDX-License-Identifier: MIT
"""``--qemu-coverage`` on a real kernel: what each test executed, and nothing else, is noted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.coverage.record import CoverageRecord, read
from harness.host.project import PYTHON_PATH
from harness.imageset.model import ImageSet

TESTS = """
import pytest
from harness.guest.guest import Guest

def test_nothing(guest: Guest) -> None:
    guest.run("true")

def test_load(guest: Guest) -> None:
    guest.insmod()

def test_allocate(guest: Guest) -> None:
    guest.insmod()
    guest.run_app()

@pytest.mark.machine("cold")
def test_boot(guest: Guest) -> None:
    guest.run("true")
"""
CMA = "mm/cma.c"
DRIVER = "images/module/cma.c"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, image_set: ImageSet) -> CoverageRecord:
    """Of four tests, run by two processes."""
    place = tmp_path_factory.mktemp("coverage")
    (place / "test_it.py").write_text(TESTS)
    image_set.write(place / "images.json")
    words = ["--qemu", "--qemu-coverage", "--qemu-image-set", str(place / "images.json"), "-n", "2"]
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
    return read(place / "artifacts" / "coverage" / "coverage.json")


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


def test_the_boot_is_kept_apart_from_the_tests_of_clones(record: CoverageRecord) -> None:
    at_boot = {record.function_of(CMA, line) for line in record.boot[CMA]}
    assert {"cma_init_reserved_areas", "cma_activate_area"} <= at_boot
    assert "cma_activate_area" in functions(record, "test_boot", CMA)


def test_only_lines_with_code_are_executed(record: CoverageRecord) -> None:
    for lines in (record.boot, *record.tests.values()):
        for file, numbers in lines.items():
            assert numbers <= record.code[file], file
