# SPDX-License-Identifier: MIT
"""``--qemu-select``: which tests a file names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.gate.selection import GUARDS
from harness.host.project import ROOT
from harness.pytest_plugin.selection import name_of, read_selection
from tests.unit.inner import collect

MAIN = "tests/cma/test_main_job.py"
Collected = Callable[..., tuple[list[str], str]]


@pytest.fixture
def collected(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Collected:
    """The tests that pytest would run, without the kernel in their names; and all that it said."""
    monkeypatch.chdir(ROOT)

    def collected(*words: str) -> tuple[list[str], str]:
        words = ("--qemu", "--qemu-kernel-version", "6.1", *words)
        tests = () if any(word.startswith("tests/") for word in words) else ("tests/cma", MAIN)
        items, _ = collect(*words, *tests)
        said = capfd.readouterr()
        return [name_of(item) for item in items], said.out + said.err

    return collected


def test_comments_and_empty_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("# no\n\n tests/a.py::test_x[b # c] \n")
    assert read_selection(tmp_path / "x") == {"tests/a.py::test_x[b # c]"}


def test_every_guard_of_the_gate_exists_and_tests_run_in_the_order_of_the_file(
    collected: Collected, tmp_path: Path
) -> None:
    file = tmp_path / "select.txt"
    file.write_text("\n".join(GUARDS))
    names, said = collected("--qemu-select", str(file))
    assert names == list(GUARDS), said[-500:]
    assert "deselected" in said


def test_a_line_that_begins_with_a_mark_leaves_one_out_and_no_other(
    collected: Collected, tmp_path: Path
) -> None:
    every, _ = collected()
    file = tmp_path / "select.txt"
    out = every[3].replace("[", "[6.1-") if "[" in every[3] else every[3]
    file.write_text(f"!{out}\n!{GUARDS[0]}\n!tests/cma/none.py::test_gone\n")
    assert collected("--qemu-select", str(file))[0] == [
        name for name in every if name not in (every[3], GUARDS[0])
    ]
    file.write_text(f"{GUARDS[1]}\n{GUARDS[0]}\n!{GUARDS[0]}\n")
    assert collected("--qemu-select", str(file))[0] == [GUARDS[1]]
    assert read_selection(file) == {GUARDS[0], GUARDS[1]}


@pytest.mark.parametrize(
    ("content", "said"), [("# nothing\n", "it names no test"), (None, "there is no file")]
)
def test_a_selection_that_is_none_is_told(
    collected: Collected, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "select.txt"
    if content is not None:
        file.write_text(content)
    assert said in collected("--qemu-select", str(file), MAIN)[1]


def test_a_line_that_names_no_test_is_told_with_its_number(
    collected: Collected, tmp_path: Path
) -> None:
    good = GUARDS[0]
    file = tmp_path / "select.txt"
    file.write_text(
        f"# a comment\n{good}\n{good}x\n\ntests/cma/test_nowhere.py::test_x\nnonsense\n"
        "tests/cma/test_main_job.py\n"
    )
    said = collected("--qemu-select", str(file))[1]
    assert f"ERROR: --qemu-select {file}:3: {good}x names no test; did you mean {good}?" in said
    assert f"{file}:5: tests/cma/test_nowhere.py::test_x names no test" in said
    assert f"{file}:6: nonsense names no test" in said
    assert f"{file}:7: tests/cma/test_main_job.py names no test" in said
    assert f"{file}:2:" not in said


def test_a_file_whose_tests_were_not_asked_for_is_no_mistake(
    collected: Collected, tmp_path: Path
) -> None:
    file = tmp_path / "select.txt"
    good = GUARDS[0]
    file.write_text(f"{good}\ntests/qemu/test_ssh.py::test_that_nobody_collects\n")
    assert collected("--qemu-select", str(file))[0] == [good]


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "select.txt"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match="--qemu-select"):
        read_selection(file)
