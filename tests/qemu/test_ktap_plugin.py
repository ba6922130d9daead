# SPDX-License-Identifier: MIT
"""KTAP of a guest as a user sees it: from a command, from the kernel's log, from the boot."""

from __future__ import annotations

import dataclasses
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.builders import cpio
from harness.imageset.model import ImageSet

pytestmark = pytest.mark.needs("agent")

ROOT = Path(__file__).resolve().parents[2]
TESTS = '''
import pytest

SCRIPT = b"""\\
cat <<end
TAP version 13
1..3
# selftests: cma: areas
# TAP version 13
# 1..2
# ok 1 found
# # expected 0x69800000, got 0x69000000
# not ok 2 placed
not ok 1 selftests: cma: areas # exit=1
ok 2 selftests: cma: hugetlb # SKIP
end
"""
KUNIT = b"""\\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: cma
    1..2
    ok 1 first_fit
    not ok 2 aligned
not ok 1 cma
"""
TO_KMSG = "while IFS= read -r line; do echo \\"$line\\" >/dev/kmsg; done"

def test_script(guest, ktap):
    guest.write_file("/tmp/script", SCRIPT + b"echo 'ok 3 last'; exit 1\\n")
    ktap.run("sh /tmp/script")

def test_kernel_log(guest, ktap):
    guest.write_file("/tmp/kunit", KUNIT)
    ktap.run(TO_KMSG + " </tmp/kunit")

def test_crash(guest, ktap):
    guest.write_file("/tmp/script", SCRIPT + b"sleep 0.3; echo c >/proc/sysrq-trigger\\n")
    ktap.run("sh /tmp/script")

def test_timeout(guest, ktap):
    ktap.run("echo 1..2; echo ok 1 quick; sleep 20", timeout=0.5)

def test_nothing(ktap):
    ktap.run("echo words; echo complaint >&2")

def test_status(ktap):
    ktap.run("echo ok 1 good; exit 3")

def test_left_out(ktap):
    ktap.run("echo 1..0 '#' SKIP no device; exit 4")

def test_good(ktap):
    ktap.run("echo ok 1 good")
'''


def run(project: Path, *arguments: str) -> tuple[str, dict[tuple[str, str], ElementTree.Element]]:
    """Runs pytest; what it printed, and (test, case) → its testcase in the JUnit file."""
    argv = [sys.executable, "-m", "pytest", "--qemu", "--qemu-image-set", "set.json"]
    argv += ["-p", "no:cacheprovider", "--color=no", "--junitxml", f"{project}/junit.xml"]
    argv += ["--qemu-artifacts", f"{project}/artifacts"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    done = subprocess.run(
        [*argv, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    cases = {}
    for case in ElementTree.parse(project / "junit.xml").getroot().iter("testcase"):
        test = str(case.get("classname")).rpartition(".test_")[2]
        cases[test, str(case.get("name"))] = case
    return done.stdout + done.stderr, cases


def failure(case: ElementTree.Element) -> str:
    found = case.find("failure")
    return "" if found is None else str(found.text)


def verdict(case: ElementTree.Element) -> str:
    return " ".join(
        str(p.get("value")) for p in case.iter("property") if p.get("name") == "verdict"
    )


@pytest.fixture
def project(tmp_path: Path, image_set: ImageSet) -> Path:
    """A directory with a conftest like ours; its images are those of this run: none is built."""
    image_set.write(tmp_path / "set.json")
    # Where the temporary directory is in a checkout, that is not to be taken for the project.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["harness.pytest_plugin"]\n')
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_a_guest_prints_is_in_the_report_with_its_verdicts(
    project: Path, workers: str
) -> None:
    said, cases = run(project, "test_it.py", "-n", workers)
    selftest = "selftests: cma: areas"
    wrong = cases["script", f"{selftest} > placed"]
    assert "expected 0x69800000, got 0x69000000" in failure(wrong)
    assert verdict(wrong) == "product"
    assert cases["script", "selftests: cma: hugetlb"].find("skipped") is not None
    assert {name for test, name in cases if test == "script"} == {
        f"{selftest} > found",
        f"{selftest} > placed",
        "selftests: cma: hugetlb",
        "last",
    }
    assert not failure(cases["kernel_log", "cma > first_fit"])
    assert verdict(cases["kernel_log", "cma > aligned"]) == "product"

    # What ends the guest, or its answer, is reported as such, after the cases before.
    assert verdict(cases["crash", f"{selftest} > placed"]) == "product"
    assert verdict(cases["crash", "(missing)"]) == "crash"
    assert "planned 3, saw 2" in failure(cases["crash", "(missing)"])
    whole = {name: case for (_, name), case in cases.items() if name.startswith("test_")}
    assert verdict(whole["test_crash"]) == "crash"
    assert "GuestCrash (crash)" in failure(whole["test_crash"])
    assert not failure(cases["timeout", "quick"])
    assert verdict(cases["timeout", "(missing)"]) == verdict(whole["test_timeout"]) == "timeout"

    assert "NoKtap (product)" in failure(whole["test_nothing"])
    assert "words" in failure(whole["test_nothing"])
    assert "complaint" in failure(whole["test_nothing"])
    assert "CommandFailed (product)" in failure(whole["test_status"])
    assert not failure(whole["test_good"])
    assert not failure(whole["test_left_out"])
    assert "test_it.py::test_script: 1 failed, 2 passed, 1 skipped" in said
    assert said.count("same again") == 6, "told for each test, not for each case"


def test_a_crash_stays_one_where_the_first_failure_ends_the_run(project: Path) -> None:
    _, cases = run(project, "test_it.py", "-x", "-k", "crash")
    assert ("crash", "(missing)") not in cases
    (whole,) = (case for (_, name), case in cases.items() if name == "test_crash")
    assert verdict(whole) == "crash"


def with_boot(project: Path, images: ImageSet, ktap: str, then: str) -> None:
    """An image set whose init says `ktap` through /dev/kmsg, as KUnit does within the kernel."""
    assert images.initrd is not None
    started = (ROOT / "images" / "rootfs" / "rcS").read_text()
    started += f"printf %s {shlex.quote(ktap)} | while IFS= read -r line\n"
    started += f'do echo "$line" >/dev/kmsg; done\n{then}\n'
    rest = cpio.archive([cpio.Member("etc/init.d/rcS", stat.S_IFREG | 0o755, started.encode())])
    initrd = project / "initramfs.cpio"
    initrd.write_bytes(images.initrd.read_bytes() + rest)  # the kernel unpacks one over the other
    dataclasses.replace(images, initrd=initrd).write(project / "set.json")


USERS = (
    *("-c", str(ROOT / "pytest.ini"), str(ROOT / "tests" / "qemu" / "test_ktap.py")),
    *("--qemu-image-set", "set.json", "--qemu-ktap", "echo 1..1; echo ok 1 fine"),
)
KUNIT = """\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: cma
    1..2
    ok 1 first_fit
    # aligned: not at 4 MiB
    not ok 2 aligned
not ok 1 cma
"""


@pytest.mark.parametrize("words", ["", "quiet"])
def test_the_option_runs_a_command_and_reads_the_boot_s_kernel_log(
    project: Path, image_set: ImageSet, words: str
) -> None:
    with_boot(project, image_set, KUNIT, "")
    said, cases = run(project, *USERS, "--qemu-append", words)
    aligned = cases["the_cases_of_the_boot", "cma > aligned"]
    assert "not at 4 MiB" in failure(aligned)
    assert verdict(aligned) == "product"
    assert not failure(cases["the_cases_of_the_command[echo 1..1; echo ok 1 fine]", "fine"])
    assert "::test_the_cases_of_the_boot: 1 failed, 1 passed" in said


def test_a_crash_of_the_boot_is_one_and_the_cases_before_it_are_told(
    project: Path, image_set: ImageSet
) -> None:
    begun = "".join(KUNIT.splitlines(keepends=True)[:6])
    with_boot(project, image_set, begun, "echo c >/proc/sysrq-trigger")
    _, cases = run(project, *USERS, "-k", "boot")
    assert not failure(cases["the_cases_of_the_boot", "cma > first_fit"])
    missing = cases["the_cases_of_the_boot", "cma > (missing)"]
    assert verdict(missing) == "crash"
    assert "planned 2, saw 1" in failure(missing)
    assert "Kernel panic - not syncing" in failure(missing)
    (whole,) = (case for (_, name), case in cases.items() if name == "test_the_cases_of_the_boot")
    assert verdict(whole) == "crash"
