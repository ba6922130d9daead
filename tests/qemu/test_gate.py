# SPDX-License-Identifier: MIT
"""``scripts/gate`` and ``scripts/bisect`` as their users run them, on few tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.builders.kernel_source import DEFAULT
from harness.builders.sandbox import NoSandbox, check
from harness.cli.app import main
from harness.host.project import ROOT
from harness.pytest_plugin.session import Session

MUTANTS = ROOT / "tests" / "mutants"
PATCHES = Path(__file__).parent / "patches"
TESTS = """\
tests/cma/test_main_job.py::TestApplication::test_what_it_gets_is_the_start_of_the_area
tests/cma/test_app.py::TestRegion::test_another_device_is_another_area
"""

# A gate builds and runs several suites, and waits while another one has the patch tree.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(autouse=True)
def own_kernel(qemu_session: Session) -> None:
    asked = () if qemu_session.settings.default_versions else qemu_session.versions
    if asked[:1] not in ((), (DEFAULT,)):
        pytest.skip("it is judged on the default kernel, and others were asked for")
    try:
        check()
    except NoSandbox as error:
        pytest.skip(str(error).partition("\n")[0])


@pytest.fixture
def gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs it; its exit status, ``result.json`` and what it said."""
    selection = tmp_path / "select.txt"
    selection.write_text(TESTS)

    def run(patch: Path) -> tuple[int, dict[str, Any], str]:
        words = ["--output", str(tmp_path / "out"), "--select", str(selection), str(patch)]
        status = main(["gate", *words])
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        return status, result, capsys.readouterr().out

    return run


def test_a_harmless_change_is_accepted(gate: Any, tmp_path: Path) -> None:
    status, result, said = gate(MUTANTS / "harmless-app-words.patch")
    assert (status, result["decision"]) == (0, "accepted"), said
    assert said.startswith("ACCEPTED 2 tests pass")
    assert result["tests"]["run"] == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "BiscuitOS_cma" in page


def test_a_fault_is_rejected_by_the_test_that_sees_it(gate: Any) -> None:
    status, result, said = gate(MUTANTS / "app-end-inclusive.patch")
    assert (status, result["decision"]) == (1, "rejected"), said
    assert result["reason"].startswith("test newly fails: ")
    titles = [finding["title"] for finding in result["findings"]]
    assert any("test_what_it_gets_is_the_start_of_the_area" in title for title in titles)
    assert "canary: the base passes" in said


def test_a_kernel_that_panics_is_rejected_by_its_crash(gate: Any) -> None:
    status, result, said = gate(PATCHES / "panics-at-boot.patch")
    assert (status, result["decision"]) == (1, "rejected"), said
    assert [finding["kind"] for finding in result["findings"]] == ["kernel crash"]
    assert "cma: the end" in said


def test_a_makefile_that_writes_elsewhere_is_contained(gate: Any) -> None:
    status, result, said = gate(PATCHES / "hostile-makefile.patch")
    assert (status, result["decision"]) == (1, "rejected"), said
    assert "it tried to write outside its tree: /home/written" in result["reason"]
    assert not Path("/home/written").exists()
    assert not (Path.home() / "written").exists()


def test_what_changes_nothing_here_is_not_judged(gate: Any, tmp_path: Path) -> None:
    patch = tmp_path / "x86.patch"
    patch.write_text("--- /dev/null\n+++ b/arch/x86/mm/new.c\n@@ -0,0 +1 @@\n+int x;\n")
    status, result, said = gate(patch)
    assert (status, result["decision"]) == (2, "not judged"), said


def test_nothing_at_all_is_told(gate: Any, tmp_path: Path) -> None:
    patch = tmp_path / "empty.patch"
    patch.write_text("")
    status, result, said = gate(patch)
    assert (status, result["decision"]) == (2, "not judged")
    assert said.startswith("NOT JUDGED empty.patch is empty")
